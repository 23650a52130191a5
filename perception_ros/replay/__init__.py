"""Bag in, verdict out: the node's pipeline on a recording, in its own time.

`run.play` plays a bag through the pipeline and writes tables and a bag of results; `job.Job` is
what it has in common with a run in real time. `verdict.judge` measures them against what is true,
and `limits` says whether that is good enough. `report.page` shows all of it. `docs/replay.md` has
the files and keys. The libraries are an extra.
"""

from __future__ import annotations

from importlib.util import find_spec

from perception_ros.bags import need_library
from perception_ros.core.errors import ReplayError

_LIBRARIES = ('pyarrow', 'jinja2', 'matplotlib')


def need_libraries() -> None:
    """Raise PerceptionError where nothing can be replayed."""
    need_library()
    if absent := [name for name in _LIBRARIES if find_spec(name) is None]:
        raise ReplayError(
            f'nothing can be replayed here: {", ".join(absent)} not installed; pip install '
            f'{" ".join(absent)}, or the extra perception_ros[replay]'
        )
