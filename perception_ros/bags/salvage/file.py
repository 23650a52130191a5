"""A file to look into as into an array of bytes, of which only what is looked at is in memory."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Self


class File:
    """The bytes of a file; slices are read when they are asked for."""

    def __init__(self, path: Path) -> None:
        """
        Open it.

        :raises OSError: it cannot be read.
        """
        self._stream = path.open('rb')
        self._size = path.stat().st_size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> memoryview:
        start, stop, _ = part.indices(self._size)
        self._stream.seek(start)
        return memoryview(self._stream.read(max(stop - start, 0)))

    def close(self) -> None:
        """Close it."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
