"""Runs a module as `python -m` does, in a process that ends when its parent does, however it ends.

A parent that is killed can stop nobody, so the kernel is asked to (Linux's PR_SET_PDEATHSIG). The
process asks for it itself, since what runs between fork and exec must not need a lock that another
thread of the parent held.

    python -m perception_ros.demo.bound PARENT_PID MODULE ARGUMENT...
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Bind this process to its parent and become the module."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it was gone before we asked
        sys.exit(1)
    del sys.argv[1:3]
    runpy.run_module(module, run_name='__main__', alter_sys=True)


if __name__ == '__main__':
    main()
