"""Making room for results must never cost anybody else's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from perception_ros.core.errors import ConfigError
from perception_ros.demo import run


def pictures(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / '1.jpg').write_bytes(b'mine')
    return folder


def test_the_input_is_not_removed_as_an_earlier_result(tmp_path: Path) -> None:
    source = pictures(tmp_path / 'out' / 'frames')
    with pytest.raises(ConfigError, match='expected another output folder'):
        run._make_room(tmp_path / 'out', source)
    assert (source / '1.jpg').exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    frames = pictures(tmp_path / 'out' / 'frames')
    with pytest.raises(ConfigError, match='not of an earlier demonstration'):
        run._make_room(tmp_path / 'out', tmp_path / 'video.mp4')
    assert (frames / '1.jpg').exists()


def test_results_of_an_earlier_run_go(tmp_path: Path) -> None:
    frames = pictures(tmp_path / 'out' / 'frames')
    (tmp_path / 'out' / 'perception_node.yaml').write_text('x')
    (tmp_path / 'out' / 'notes.txt').write_text('mine')
    run._make_room(tmp_path / 'out', tmp_path / 'video.mp4')
    assert not frames.exists()
    assert (tmp_path / 'out' / 'notes.txt').exists()
