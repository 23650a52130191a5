"""A log is read while it grows, and after its node has died in the middle of a line."""

from __future__ import annotations

from pathlib import Path

from perception_ros.core.frame_log import DROPPED, FrameLog, FrameLogReader
from perception_ros.core.types import Drop, DropReason


def test_each_line_is_read_once_and_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / 'frames.jsonl'
    reader = FrameLogReader(path)
    assert not list(reader.lines()), 'the node has not come to it yet'
    log = FrameLog(path)
    log.dropped([Drop('front', DropReason.STALE, 1, 'boxes', '')])
    assert list(reader.lines()) == [[DROPPED, 'front', 1, 'boxes', 'stale', '']]
    log.dropped([Drop('front', DropReason.STALE, 2, 'boxes', '')])
    log.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    assert not list(reader.lines())
    path.write_bytes(whole)
    assert [line[2] for line in reader.lines()] == [2]
    assert not list(reader.lines())
