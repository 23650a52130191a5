"""One file of a bag, read through the library, and salvaged where that finds it damaged."""

from __future__ import annotations

from collections.abc import Iterator, Set
from pathlib import Path

from perception_ros.bags.library import LibraryStore
from perception_ros.bags.salvage import salvage, Salvaged, Tell
from perception_ros.bags.salvage.db3 import missing_rows
from perception_ros.bags.salvage.mcap import outline
from perception_ros.bags.store import Record, Store
from perception_ros.core.errors import BagError


def open_store(path: Path, tell: Tell) -> Store:
    """Open one file, damaged or not.

    :param tell: is told of each damage.
    :raises BagError: nothing in it can be read.
    """
    try:
        if not path.stat().st_size:
            raise BagError(f'{path}: expected a bag, got an empty file')
        reason, has_index = _look_over(path)
        if not has_index:  # the library reads such files in the order of time only by luck
            return _salvaged(path, tell)
        if not reason:
            return GuardedStore(path, LibraryStore(path), tell)
    except BagError:
        raise
    except PermissionError as error:
        raise BagError(f'{path}: cannot be read; {error.strerror}') from error
    except Exception as error:  # a damaged file may raise anything in a library
        reason = f'it cannot be opened as it is: {_text(error)}'
    tell(f'{path.name} is damaged, {reason}; what is whole is read without its index')
    return _salvaged(path, tell)


class GuardedStore:
    """A `Store` that the library reads until that fails, and a scan from there on."""

    def __init__(self, path: Path, store: Store, tell: Tell) -> None:
        self._path = path
        self._store = store
        self._tell = tell
        self.counts = store.counts
        self.start_ns = store.start_ns
        self.end_ns = store.end_ns
        self.compression = store.compression

    def records(self, topics: Set[str], start_ns: int, end_ns: int) -> Iterator[Record]:
        """Yield as a `Store` does."""
        last_ns, at_last = start_ns, 0
        broken = self._store
        try:
            for record in self._store.records(topics, start_ns, end_ns):
                if record.time_ns == last_ns:
                    at_last += 1
                else:
                    last_ns, at_last = record.time_ns, 1
                yield record
            return
        except Exception as error:  # a damaged file may raise anything in a library
            if self._store is broken:
                self._salvage(error)
        for record in self._store.records(topics, last_ns, end_ns):
            if record.time_ns == last_ns and at_last:
                at_last -= 1  # it has been given already
                continue
            yield record

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def _salvage(self, error: Exception) -> None:
        self._tell(
            f'{self._path.name} is damaged inside: {_text(error)}; what is whole is read all the '
            'same'
        )
        self._store.close()
        self._store = _salvaged(self._path, self._tell)
        self.counts = self._store.counts


def _look_over(path: Path) -> tuple[str, bool]:
    """Return why a file should not be read by its index, '' for no reason, and if it has one."""
    if path.suffix == '.mcap':
        return outline(path)
    return (missing_rows(path) if path.suffix == '.db3' else ''), True


def _salvaged(path: Path, tell: Tell) -> Salvaged:
    return salvage(path, lambda problem: tell(f'{path.name}: {problem}'))


def _text(error: Exception) -> str:
    return str(error).rstrip('.') or type(error).__name__
