"""A file of what happened when, for ui.perfetto.dev or chrome://tracing; it is valid at any time.

The format is the Trace Event Format, in JSON. Whoever has something to say puts it into a queue; a
thread of its own writes it down.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
import json
import logging
import os
from pathlib import Path
import threading
import time
from typing import Any

from perception_ros.core.errors import ConfigError

LIMIT_BYTES = 128 << 20
"""What comes after so much is left out: a browser has to hold it all."""

_PENDING = 100_000
"""Events in memory; what comes on top, while the disk is slower than the node, is left out."""
_PERIOD_S = 0.25
_HEAD = b'{"displayTimeUnit": "ms", "traceEvents": [\n'

_log = logging.getLogger(__name__)

Event = dict[str, Any]


class Trace:
    """Times are ns on the monotonic clock. Safe to use from several threads; `close` ends it.

    A file that fails costs the rest of the trace, and nothing else.

    :raises ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path, self._limit_bytes = path, limit_bytes
        self._pending: deque[Event] = deque()
        self._left_out = 0
        self._ids = count(1)
        self._named: set[int] = set()
        self._size, self._is_full = len(_HEAD), False
        self._about: dict[str, Any] = {}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open('wb')
            self._file.write(_HEAD)
        except OSError as error:
            raise ConfigError(f'trace_file {path}: cannot be written; {error.strerror}') from error
        self._write([_event('M', 'process_name', 0, args={'name': 'perception_node'})])
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._loop, name='trace', daemon=True)
        self._thread.start()

    def span(self, name: str, began_ns: int, ended_ns: int, **about: Any) -> None:
        """Draw what the calling thread has done; spans of a thread nest and do not overlap."""
        thread = threading.get_native_id()
        if thread not in self._named:
            self._named.add(thread)
            named = {'name': threading.current_thread().name}
            self._add(_event('M', 'thread_name', 0, tid=thread, args=named))
        duration_us = (ended_ns - began_ns) / 1e3
        self._add(_event('X', name, began_ns, tid=thread, dur=duration_us, args=about))

    @contextmanager
    def spanned(self, name: str, **about: Any) -> Iterator[None]:
        """Draw what is done within."""
        began_ns = time.monotonic_ns()
        try:
            yield
        finally:
            self.span(name, began_ns, time.monotonic_ns(), **about)

    def stretch(
        self, kind: str, name: str, began_ns: int, ended_ns: int,
        parts: Mapping[str, tuple[int, int]] | None = None, **about: Any,
    ) -> None:
        """Draw what no thread does, such as waiting; those of one name may overlap.

        :param parts: what it is made of, with beginning and end.
        """
        which = next(self._ids)
        for part, (first_ns, last_ns) in {name: (began_ns, ended_ns), **(parts or {})}.items():
            args = about if part == name else {}
            self._add(_event('b', part, first_ns, cat=kind, id=which, args=args))
            self._add(_event('e', part, last_ns, cat=kind, id=which))

    def instant(self, name: str, **about: Any) -> None:
        """Mark that something has happened now, in the calling thread."""
        thread = threading.get_native_id()
        self._add(_event('i', name, time.monotonic_ns(), tid=thread, s='t', args=about))

    def value(self, name: str, at_ns: int, value: float) -> None:
        """Draw a value as it was at a time."""
        self._add(_event('C', name, at_ns, args={'value': value}))

    def tell(self, **about: Any) -> None:
        """Say something of the whole, which stands at the end."""
        self._about |= about

    def close(self) -> None:
        """Write what is left. Idempotent; what comes later is left out."""
        if self._closing.is_set():
            return
        self._closing.set()
        self._thread.join()
        try:
            self._file.close()
        except OSError as error:
            self._fail(error)

    def _add(self, event: Event) -> None:
        if self._is_full or len(self._pending) >= _PENDING:
            self._left_out += 1
        else:
            self._pending.append(event)

    def _loop(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._closing.wait(_PERIOD_S)
            self._write([self._pending.popleft() for _ in range(len(self._pending))])

    def _write(self, events: list[Event]) -> None:
        """Add events before the end of the file, which is written again behind them."""
        lines = b''.join(json.dumps(event).encode() + b',\n' for event in events)
        if self._size + len(lines) > self._limit_bytes and not self._is_full:
            self._is_full = True
            _log.warning('trace_file %s: is full, the rest is left out', self._path)
        if self._is_full:
            self._left_out += len(events)
            lines = b''
        about = {**self._about, 'events_left_out': self._left_out}
        last = json.dumps(_event('i', 'end', time.monotonic_ns(), s='g'))
        tail = f'{last}\n], "otherData": {json.dumps(about)}}}\n'.encode()
        try:
            self._file.seek(self._size)
            self._file.write(lines + tail)
            self._file.truncate()
            self._file.flush()
        except (OSError, ValueError) as error:
            self._fail(error)
        self._size += len(lines)

    def _fail(self, error: Exception) -> None:
        if not self._is_full:
            _log.error('trace_file %s: cannot be written; %s', self._path, error)
        self._is_full = True


def _event(phase: str, name: str, at_ns: int, **values: Any) -> Event:
    return {'ph': phase, 'name': name, 'ts': at_ns / 1e3, 'pid': os.getpid(), **values}
