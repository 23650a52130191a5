"""What becomes of each frame, as lines of a file that another process reads while it grows.

Each line is a JSON list; its first item says what the others are:

    ["set", [[camera, stamp_ns], ...]]
    ["dropped", camera, stamp_ns, model, reason, detail]
    ["inferred", camera, stamp_ns, model, {point in time: ns, ...}]

Points in time are those of `passage.Passage`, on the machine's monotonic clock. Lines are written
at once, so that those of a process that dies are there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import json
import logging
from pathlib import Path
import threading
from typing import Any

from perception_ros.core.errors import ConfigError
from perception_ros.core.statistics import Statistics
from perception_ros.core.types import Drop, FrameSet, Result

SET = 'set'
DROPPED = 'dropped'
INFERRED = 'inferred'

_log = logging.getLogger(__name__)


class FrameLog(Statistics):
    """Statistics that write a line for each frame; a file that fails costs no frame."""

    def __init__(self, path: Path) -> None:
        """
        Begin the file anew.

        :raises ConfigError: it cannot be written.
        """
        super().__init__()
        self._path = path
        self._writing = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open('wb', buffering=0)
        except OSError as error:
            raise ConfigError(f'frame_log {path}: cannot be written; {error.strerror}') from error

    def matched(self, frame_set: FrameSet) -> None:
        """Write which frames are a set."""
        super().matched(frame_set)
        self._write(SET, [[frame.camera, frame.stamp_ns] for frame in frame_set.frames])

    def dropped(self, drops: Iterable[Drop]) -> None:
        """Write each drop record."""
        drops = list(drops)
        super().dropped(drops)
        for drop in drops:
            self._write(
                DROPPED, drop.camera, drop.stamp_ns, drop.model, drop.reason.value, drop.detail
            )

    def inferred(self, result: Result) -> None:
        """Write when a frame was where on its way."""
        super().inferred(result)
        frame, passage = result.frame, result.passage
        assert passage, 'it is published'
        self._write(INFERRED, frame.camera, frame.stamp_ns, result.model, passage._asdict())

    def close(self) -> None:
        """Close the file; what comes later is counted and not written."""
        with self._writing:
            self._file.close()

    def _write(self, *items: Any) -> None:
        line = json.dumps(items).encode() + b'\n'
        with self._writing:
            if self._file.closed:
                return
            try:
                self._file.write(line)
            except OSError as error:
                _log.error('frame_log %s: cannot be written; %s', self._path, error)
                self._file.close()


class FrameLogReader:
    """Reads such a file while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_bytes = 0

    def lines(self) -> Iterator[list[Any]]:
        """Yield what has been written since the last time; nothing as long as there is no file."""
        if not self._path.exists():
            return
        with self._path.open('rb') as file:
            file.seek(self._read_bytes)
            for line in file:
                if not line.endswith(b'\n'):  # it is still being written
                    return
                self._read_bytes += len(line)
                yield json.loads(line)
