"""Bag in, verdict out: the node's pipeline on a recording, in its own time.

`run.play` plays a bag through the pipeline and writes tables and a bag of results,
`verdict.judge` measures them against what is true, and `limits` says whether that is good enough.
`docs/replay.md` has the files and keys. The library `pyarrow` is an extra, as `rosbags` is.
"""

from __future__ import annotations

from importlib.util import find_spec

from perception_ros.bags import need_library
from perception_ros.core.errors import ReplayError


def need_libraries() -> None:
    """Raise PerceptionError where nothing can be replayed."""
    need_library()
    if find_spec('pyarrow') is None:
        raise ReplayError(
            'nothing can be replayed here: the library pyarrow is not installed; pip install '
            'pyarrow, or the extra perception_ros[replay]'
        )
