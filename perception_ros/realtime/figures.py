"""What a run in real time comes to: the pace that was kept, and how each camera fared."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow.compute as pc
import pyarrow.parquet as pq

from perception_ros.core.types import DropReason
from perception_ros.realtime.ledger import CameraCounts, Ledger
from perception_ros.realtime.player import Pace
from perception_ros.replay.summary import percentiles_ms
from perception_ros.replay.tables import TIMED, TIMINGS

LATE_MS = 20.0
"""A player whose images are later than this more than once in a hundred does not keep time."""


def pace_figures(pace: Pace, rate: float) -> dict[str, Any]:
    """Return how well the player kept time, ready for JSON."""
    due_ns, took_ns = pace.last_due_ns - pace.first_due_ns, pace.last_ns - pace.first_ns
    late = {f'{key}_ms': value for key, value in pace.late.summary_ms().items()}
    return {
        'rate': rate,
        'rate_kept': round(rate * due_ns / took_ns, 4) if due_ns and took_ns else None,
        'played_s': round(took_ns / 1e9, 3),
        'images': pace.late.total,
        'late': late,
        'is_kept': bool(pace.late.total) and late['p99_ms'] <= LATE_MS,
    }


def camera_figures(folder: Path, ledger: Ledger, played_s: float) -> dict[str, Any]:
    """Return counts and times by camera of tables that are written, one column in memory."""
    path = folder / f'{TIMINGS}.parquet'
    cameras = pq.read_table(path, columns=['camera'])['camera']
    figures = {name: _counts(counts, played_s) for name, counts in ledger.counts.items()}
    for column in TIMED:
        times = pq.read_table(path, columns=[f'{column}_ns'])[f'{column}_ns']
        for camera, found in figures.items():
            its = times.filter(pc.equal(cameras, camera)).drop_null().to_numpy()
            if len(its):
                found[column] = _percentiles(its)
    return figures


def _counts(counts: CameraCounts, played_s: float) -> dict[str, Any]:
    dropped: Mapping[str, int] = counts.dropped
    return {
        'published': counts.published,
        'inferred': counts.inferred,
        'dropped': sum(dropped.values()),
        'superseded': dropped.get(DropReason.SUPERSEDED.value, 0),
        'reasons': dict(dropped),
        # between n frames there are n - 1 intervals
        'achieved_hz': round(max(counts.inferred - 1, 0) / played_s, 3) if played_s else None,
    }


def _percentiles(times_ns: NDArray[np.int64]) -> dict[str, float]:
    return percentiles_ms(times_ns)
