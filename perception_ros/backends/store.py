"""The engine store: built engines on disk, each under a key that says all that it depends on.

An entry is two files named by the hash of its key: the payload, and a JSON file with the key, what
is known of the payload, and hashes of it all. Each is written beside its place and renamed, and
every load checks both, so nothing half-written, edited or exchanged is ever used. One process
builds an entry at a time; the others wait for it, and a builder that dies lets go.

What an engine is made of is not known here: a key is any JSON object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
import fcntl
from hashlib import sha256
import json
import logging
import os
from pathlib import Path
import threading
import time
from typing import Any

from perception_ros.core.errors import BackendError

_log = logging.getLogger(__name__)

VARIABLE = 'PERCEPTION_ROS_CACHE'
"""Environment variable that names the store's folder."""

_STALE_S = 3600.0
"""An unfinished file of this age belongs to nobody: no write takes so long."""
_LOCK_PERIOD_S = 0.2
"""Whoever waits for another builder looks so often whether it is done."""
_UNFINISHED = '.unfinished'

Key = Mapping[str, Any]
"""All that an entry depends on, as a JSON object."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies in the store under a key."""

    key: Key
    about: Mapping[str, Any]
    """What its builder said of the payload."""
    path: Path
    """The payload's file."""
    size_bytes: int
    used_s: float
    """When it was last built or loaded, in seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A payload that has been checked or just built."""

    payload: bytes
    about: Mapping[str, Any]
    path: Path | None
    """Where it lies; None: it could not be stored and is in memory alone."""
    was_built: bool
    """Whether it was built for this call."""


class _DamagedError(Exception):
    """An entry is not what it should be."""


def default_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `PERCEPTION_ROS_CACHE`, or `perception_ros` in the user's cache folder.

    :raises BackendError: the user has no home.
    """
    if named := environment.get(VARIABLE, ''):
        return Path(named).expanduser().absolute()
    caches = Path(environment.get('XDG_CACHE_HOME', ''))
    if not caches.is_absolute():  # the specification wants others ignored
        try:
            caches = Path.home() / '.cache'
        except RuntimeError as error:
            raise BackendError(
                f'no folder for built engines: {error}; name one in {VARIABLE}'
            ) from error
    return caches / 'perception_ros'


class EngineStore:
    """A folder of built engines, which many processes may use at once.

    :param folder: made when something is stored; default: `default_folder()`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = default_folder() if folder is None else folder

    def get_or_build(
        self,
        key: Key,
        build: Callable[[], tuple[bytes, Mapping[str, Any]]],
        what: str,
        cancel: threading.Event | None = None,
    ) -> Stored:
        """Return what lies under a key, or build and store it.

        A store that cannot be written to costs a warning and no more.

        :param build: returns the payload and what is known of it, ready for JSON. What it raises
            is passed on, and nothing is stored.
        :param what: name of the engine, for the log.
        :param cancel: set by whoever no longer wants it: another builder is not waited for.
        :raises BackendError: it was cancelled while another process built it.
        """
        if found := self.load(key):
            return found
        with self._locked(key, what, cancel) as writable:
            try:
                if found := self._read(key):  # built by whoever we have waited for
                    return found
            except _DamagedError as error:
                _log.warning('the stored engine of %s is built anew: %s', what, error)
            payload, about = build()
            path = self._write(key, payload, about, what) if writable else None
            return Stored(payload, about, path, was_built=True)

    def load(self, key: Key) -> Stored | None:
        """Return what lies under a key; None: nothing, or nothing that can be used."""
        try:
            return self._read(key)
        except _DamagedError:
            return None

    def save(self, key: Key, payload: bytes, about: Mapping[str, Any], what: str) -> None:
        """Store a payload in place of what lies under the key; failing costs a warning."""
        with self._locked(key, what) as writable:
            if writable:
                self._write(key, payload, about, what)

    def entries(self) -> list[Entry]:
        """Return what lies here, the last used first. Payloads are not read."""
        found = []
        for sidecar in self.folder.glob('*.json'):
            payload = sidecar.with_suffix('.bin')
            try:
                facts, used_s = _facts(sidecar), sidecar.stat().st_mtime
                size = payload.stat().st_size
            except (OSError, _DamagedError):
                continue
            found.append(Entry(facts['key'], facts['about'], payload, size, used_s))
        return sorted(found, key=lambda entry: entry.used_s, reverse=True)

    def remove(self, entry: Entry) -> None:
        """Remove an entry; who has loaded it keeps it.

        :raises OSError: the store cannot be written to.
        """
        _sidecar(entry.path).unlink(missing_ok=True)
        entry.path.unlink(missing_ok=True)

    def _path(self, key: Key, suffix: str) -> Path:
        return self.folder / (sha256(_canonical(key)).hexdigest() + suffix)

    def _read(self, key: Key) -> Stored | None:
        """Return what lies under a key, None for nothing.

        :raises _DamagedError: with what is wrong with it.
        """
        sidecar, path = self._path(key, '.json'), self._path(key, '.bin')
        try:
            facts = _facts(sidecar)
            payload = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _DamagedError(f'it cannot be read: {error}') from error
        if _canonical(facts['key']) != _canonical(key):
            raise _DamagedError(f'{sidecar} is of another engine')
        if sha256(payload).hexdigest() != facts['payload_sha256']:
            raise _DamagedError(f'{path} is not what was stored there')
        with suppress(OSError):
            os.utime(sidecar)  # for whoever removes what has long not been used
        return Stored(payload, facts['about'], path, was_built=False)

    def _write(
        self, key: Key, payload: bytes, about: Mapping[str, Any], what: str
    ) -> Path | None:
        """Store an entry and return its file; the caller holds the key's lock."""
        facts = {'key': key, 'about': about, 'payload_sha256': sha256(payload).hexdigest()}
        facts['sha256'] = sha256(_canonical(facts)).hexdigest()
        path = self._path(key, '.bin')
        try:
            self._sweep()
            _put(path, payload)
            _put(self._path(key, '.json'), json.dumps(facts, indent=2).encode())
        except OSError as error:
            _log.warning(
                '%s cannot be stored in %s: %s; it is used all the same, and built again next '
                'time: make room, or name another folder in %s', what, self.folder, error, VARIABLE
            )
            with suppress(OSError):  # a payload without its sidecar only takes room
                path.unlink(missing_ok=True)
            return None
        return path

    def _sweep(self) -> None:
        """Remove what writers left behind that were killed: halves of files, and of entries."""
        halves = [path for path in self.folder.glob('*.bin') if not _sidecar(path).exists()]
        for path in (*self.folder.glob(f'*{_UNFINISHED}'), *halves):
            with suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _STALE_S:
                    path.unlink()

    @contextmanager
    def _locked(
        self, key: Key, what: str, cancel: threading.Event | None = None
    ) -> Iterator[bool]:
        """Hold the key's lock, waiting for whoever has it; false: the folder cannot be used."""
        path = self._path(key, '.lock')
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = _lock(path, what, cancel or threading.Event())
        except OSError as error:
            _log.warning(
                'the engine store %s cannot be written to: %s; %s is built for this process '
                'alone: name another folder in %s', self.folder, error, what, VARIABLE
            )
            yield False
            return
        try:
            yield True
        finally:
            with suppress(OSError):
                path.unlink()
            os.close(handle)


def _lock(path: Path, what: str, cancel: threading.Event) -> int:
    """Return a handle that holds the lock of a file; closing it, or dying, lets it go."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _take(handle, what, cancel)
            if _stands_at(handle, path):
                os.ftruncate(handle, 0)
                os.write(handle, str(os.getpid()).encode())
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _take(handle: int, what: str, cancel: threading.Event) -> None:
    told = False
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                owner = os.pread(handle, 20, 0).decode(errors='replace') or 'another'
                _log.info('waiting for process %s, which builds %s', owner, what)
                told = True
        if cancel.wait(_LOCK_PERIOD_S):
            raise BackendError(f'{what} was cancelled while another process built it')


def _stands_at(handle: int, path: Path) -> bool:
    """Say whether a file is still the one of that name: whoever had its lock removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _put(path: Path, payload: bytes) -> None:
    """Write a file whole, or leave what stands there; one writer at a time."""
    unfinished = path.with_name(path.name + _UNFINISHED)
    try:
        with open(unfinished, 'wb') as stream:
            stream.write(payload)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def _sidecar(payload: Path) -> Path:
    return payload.with_suffix('.json')


def _facts(sidecar: Path) -> dict[str, Any]:
    """Return what a sidecar says.

    :raises _DamagedError: it is not as it was written.
    """
    try:
        facts = json.loads(sidecar.read_bytes())
        rest = {name: value for name, value in facts.items() if name != 'sha256'}
        hashed = facts['sha256'] == sha256(_canonical(rest)).hexdigest()
        whole = hashed and rest.keys() == {'key', 'about', 'payload_sha256'}
    except (ValueError, KeyError, AttributeError, TypeError):
        whole = False
    if not whole:
        raise _DamagedError(f'{sidecar} is not what was stored there')
    return rest


def _canonical(value: Any) -> bytes:
    """Return JSON bytes that are equal for equal values."""
    return json.dumps(value, sort_keys=True, separators=(',', ':')).encode()
