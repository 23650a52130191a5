"""A result that cannot be written must not cost the one before it."""

from __future__ import annotations

import os
from pathlib import Path
import threading

import pytest

from perception_ros.core import files


def test_the_old_text_stays_until_the_new_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'a.json'
    files.write_text(path, 'old')

    def fail(*args: object) -> None:
        raise OSError('disk full')

    with monkeypatch.context() as patch, pytest.raises(OSError, match='disk full'):
        patch.setattr(files.os, 'replace', fail)
        files.write_text(path, 'new')
    assert path.read_text() == 'old'
    assert list(tmp_path.iterdir()) == [path], 'nothing half-written is left'
    files.write_text(path, 'new')
    assert path.read_text() == 'new'


def test_a_name_that_is_no_utf8_is_escaped(tmp_path: Path) -> None:
    files.write_text(tmp_path / 'a', 'x\udcff')
    assert (tmp_path / 'a').read_bytes() == b'x\\udcff'


def test_what_can_be_written_is_known_before(tmp_path: Path) -> None:
    """A network was measured for minutes, and then its figures had nowhere to go."""
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    for path in (tmp_path / 'new.json', pipe, Path(os.devnull)):
        files.check_writable(path)
    for path, said in ((tmp_path, 'a folder'), (tmp_path / 'none' / 'a.json', 'folder that is')):
        with pytest.raises(OSError, match=said):
            files.check_writable(path)


def test_a_pipe_is_written_into_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    files.write_text(pipe, 'text')
    reader.join()
    assert read == ['text']
    assert pipe.is_fifo()
