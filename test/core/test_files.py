"""A result that cannot be written must not cost the one before it."""

from __future__ import annotations

from pathlib import Path

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
