"""Processes that tests start."""

from __future__ import annotations

import signal


def hear_ctrl_c() -> None:
    """Undo what a shell does to whatever it starts in the background; for `preexec_fn`."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
