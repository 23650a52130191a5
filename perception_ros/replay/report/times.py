"""How a run went over time: latencies and lost frames, from its tables, in few points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow.parquet as pq

from perception_ros.pages.plots import curves, Line
from perception_ros.pages.tables import number, Table, text
from perception_ros.replay.tables import FRAMES, INFERRED, read_rows, TIMED, TIMINGS

POINTS = 120
"""Of a curve, however long the bag is."""

Plots = list[tuple[str, str]]
"""Title and SVG of each."""

_MACHINE = ('prepare', 'infer', 'restore', 'publish')
_FAR_NS = 60_000_000_000
"""A stamp this far beyond the length of the bag is of another clock, and left out of curves."""


def latency_by_camera(folder: Path) -> Table | None:
    """Return percentiles of each stage and camera; None where nothing was inferred."""
    cameras = _column(folder, 'camera')
    if not len(cameras):
        return None
    rows = []
    for stage in TIMED:
        times_ms = _milliseconds(folder, stage)
        for camera in ('', *np.unique(cameras)):
            mine = times_ms if not camera else times_ms[cameras == camera]
            mine = mine[~np.isnan(mine)]
            if not len(mine):
                continue
            values = np.percentile(mine, (50, 95, 99, 100), method='inverted_cdf')
            rows.append([
                text(stage, 'head'), text(camera or 'all'),
                *(number(float(value), 2) for value in values),
            ])
    return Table(['stage', 'camera', 'p50 ms', 'p95 ms', 'p99 ms', 'max ms'], rows)


def latency_plots(folder: Path, length_ns: int) -> Plots:
    """Return the median of each stage, and of the machine's stages by camera, over time."""
    stamps, cameras = _column(folder, 'stamp_ns'), _column(folder, 'camera')
    place, times_s, is_near = _places(stamps, length_ns)
    if len(times_s) < 2:
        return []
    stages = {stage: _milliseconds(folder, stage)[is_near] for stage in _MACHINE}
    if all(np.isnan(values).all() for values in stages.values()):
        return []  # of a node that tells nothing
    lines = [_medians(stage, place, times_s, values) for stage, values in stages.items()]
    plots = [('Latency by stage over time, median', curves(lines, 's since the start', 'ms'))]
    whole, cameras = np.sum(list(stages.values()), axis=0), cameras[is_near]
    lines = [
        _medians(str(camera), place[cameras == camera], times_s, whole[cameras == camera])
        for camera in np.unique(cameras)
    ]
    title = 'Latency by camera over time, prepare to publish, median'
    return [*plots, (title, curves(lines, 's since the start', 'ms'))]


def drop_plots(folder: Path, length_ns: int) -> Plots:
    """Return how many frames were lost so far, by reason."""
    rows = list(read_rows(folder / f'{FRAMES}.parquet', ('stamp_ns', 'outcome', 'reason')))
    lost = [(stamp_ns, reason) for stamp_ns, outcome, reason in rows if outcome != INFERRED]
    place, times_s, is_near = _places(np.array([row[0] for row in rows], np.int64), length_ns)
    if not lost or len(times_s) < 2:
        return []
    reasons = np.array(['' if row[1] == INFERRED else row[2] for row in rows])[is_near]
    lines = [
        Line(reason, times_s, np.cumsum(
            np.bincount(place[reasons == reason], minlength=len(times_s))
        ).tolist())
        for reason in sorted(set(reasons.tolist()) - {''})
    ]
    return [('Frames lost so far, by reason', curves(lines, 's since the start', 'frames'))]


def _places(
    stamps: NDArray[np.int64], length_ns: int
) -> tuple[NDArray[np.int64], Sequence[float], NDArray[np.bool_]]:
    """Return the point of each stamp that is near, the points' times in s, and which are near."""
    if not len(stamps):
        return stamps, [], np.zeros(0, np.bool_)
    is_near = np.abs(stamps - np.median(stamps)) <= length_ns + _FAR_NS
    since_s = (stamps[is_near] - stamps[is_near].min()) / 1e9
    step_s = max(float(since_s.max()) / POINTS, 1e-9)
    place = np.minimum((since_s / step_s).astype(np.int64), POINTS - 1)
    return place, [(index + 0.5) * step_s for index in range(int(place.max()) + 1)], is_near


def _medians(
    name: str, place: NDArray[np.int64], times_s: Sequence[float], values: NDArray[np.float64]
) -> Line:
    known = ~np.isnan(values)
    place, values = place[known], values[known]
    if not len(place):
        return Line(name, [], [])
    order = np.argsort(place, kind='stable')
    points, starts = np.unique(place[order], return_index=True)
    parts = np.split(values[order], starts[1:])
    return Line(
        name, [times_s[point] for point in points], [float(np.median(part)) for part in parts]
    )


def _milliseconds(folder: Path, stage: str) -> NDArray[np.float64]:
    """Return the times of a stage; NaN where nobody measured it."""
    return _column(folder, f'{stage}_ns').astype(np.float64) / 1e6


def _column(folder: Path, name: str) -> NDArray[Any]:
    column: NDArray[Any] = pq.read_table(
        folder / f'{TIMINGS}.parquet', columns=[name]
    )[name].to_numpy()
    return column
