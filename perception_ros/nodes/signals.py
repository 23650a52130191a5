"""SIGINT and SIGTERM, noticed at once whatever the main thread does.

Python runs a signal's handler in the main thread and only between two of its own instructions; a
thread that is inside a library, building an engine for minutes, comes to none. So a thread of its
own reads what Python writes to a pipe when the signal arrives.
"""

from __future__ import annotations

from collections.abc import Callable
import os
import signal
import sys
import threading
import time

END_S = 10.0
"""How long a process may take to end. Freeing engines takes less; some cannot be interrupted
while they are being opened."""


def on_end(notice: Callable[[], None]) -> threading.Event:
    """Call `notice` when the process is asked to end, from a thread of its own.

    A process that is still there `END_S` later is ended the hard way. Call it once, in the main
    thread.

    :return: is set when the process was asked to end.
    """
    asked = threading.Event()
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def watch() -> None:
        [number] = os.read(reader, 1)
        asked.set()
        notice()
        time.sleep(END_S)
        print(
            f'not ended {END_S:g} s after {signal.Signals(number).name}; ending without cleaning '
            'up', file=sys.stderr, flush=True,
        )
        os._exit(128 + number)

    threading.Thread(target=watch, name='signals', daemon=True).start()
    return asked
