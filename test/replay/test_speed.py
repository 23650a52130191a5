"""The benchmark of replays: that it measures what it says, not how fast this machine is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception_ros.cli.main import main
from test.replay.drawn import configuration, drawn_bag


def bench(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(['bench', 'replay', *map(str, arguments)])
    return int(ended.value.code or 0)


def test_all_sides_see_the_same_images(tmp_path: Path) -> None:
    """A ratio of two sides that do different work would be a lie."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=6)
    config = configuration(tmp_path, 'onnxruntime')
    status = bench(bag, '--config', config, '--rounds', '1', '--json', tmp_path / 'speed.json')
    sides = json.loads((tmp_path / 'speed.json').read_text())['sides']
    assert status == 0
    assert {name: side['images'] for name, side in sides.items()} == {
        'bare': 12, 'tables': 11, 'results': 11,  # a replay's clock starts after its first image
    }
    assert sides['bare']['of_bare']['median'] == 1
    assert all(side['peak_memory_mb'] > 20 for side in sides.values())
    assert not list(tmp_path.glob('**/frames.parquet')), 'nothing is left behind'


def test_what_cannot_be_replayed_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=1)
    config = configuration(tmp_path, camera_names=['left'])
    assert bench(bag, '--config', config, '--rounds', '1') == 1
    assert 'has images of none of the cameras left' in capsys.readouterr().err
