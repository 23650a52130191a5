"""What a run comes to, in numbers: made of its tables alone, however it ran."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
import pyarrow.parquet as pq

from perception_ros.benchmarks.environment import Environment
from perception_ros.core.errors import ReplayError
from perception_ros.core.types import DropReason
from perception_ros.replay.parts import RunFolder
from perception_ros.replay.tables import (
    DETECTIONS,
    DROPPED,
    FRAMES,
    INFERRED,
    MISSING,
    read_rows,
    TIMINGS,
)

SUMMARY = 'summary.json'

REALTIME_FIGURES = 'realtime_figures'
"""Key of `run.json` of what was measured while it was played in real time."""

_OF_RUN = (
    'bag', 'start_s', 'end_s', 'cameras', 'bundles', 'engines', 'config', 'problems',
)
"""What `run.json` knows and the summary repeats."""


def summarise(folder: Path) -> dict[str, Any]:
    """Return counters, latencies and circumstances of a finished run, ready for JSON.

    :raises ReplayError: it is none.
    """
    about = RunFolder(folder).read_about()
    return {
        **_frames(folder / f'{FRAMES}.parquet'),
        'detections': _detections(folder / f'{DETECTIONS}.parquet'),
        'latency': _latency(folder / f'{TIMINGS}.parquet'),
        'realtime': about.get(REALTIME_FIGURES),
        **{key: about.get(key) for key in _OF_RUN},
        'environment': Environment.here().model_dump(mode='json'),
    }


def read_summary(folder: Path) -> dict[str, Any]:
    """Return what a replay has written.

    :raises ReplayError: it is not there, or damaged.
    """
    try:
        summary = json.loads((folder / SUMMARY).read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise ReplayError(f'{folder}: expected the folder of a replay; {error}') from error
    if not isinstance(summary, dict):
        raise ReplayError(f'{folder / SUMMARY}: expected what a replay has written')
    return summary


def _frames(path: Path) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    dropped = Counter({reason.value: 0 for reason in DropReason if reason.value != MISSING})
    inferred: dict[str, int] = {}
    by_camera: dict[str, Counter[str]] = {}
    missing: dict[str, int] = {}
    sets = 0
    columns = ('camera', 'model', 'outcome', 'reason', 'set')
    for camera, model, outcome, reason, number in read_rows(path, columns):
        outcomes[outcome] += 1
        if outcome == INFERRED:
            inferred[model] = inferred.get(model, 0) + 1
        elif outcome == DROPPED:
            dropped[reason] += 1
            by_camera.setdefault(camera, Counter())[reason] += 1
        else:
            missing[camera] = missing.get(camera, 0) + 1
        if number is not None:
            sets = max(sets, number + 1)
    return {
        'frames': {INFERRED: outcomes[INFERRED], DROPPED: outcomes[DROPPED]},
        'frames_inferred': inferred,
        'frames_dropped': dict(dropped),
        'frames_dropped_by_camera': {name: dict(found) for name, found in by_camera.items()},
        'frames_missing': missing,
        'frame_sets': sets,
    }


def _detections(path: Path) -> dict[str, dict[str, int]]:
    counts: Counter[tuple[str, str]] = Counter(read_rows(path, ('model', 'class')))
    found: dict[str, dict[str, int]] = {}
    for (model, name), count in sorted(counts.items()):
        found.setdefault(model, {})[name] = count
    return found


def _latency(path: Path) -> dict[str, dict[str, float]]:
    """Return percentiles in ms of each stage, one column in memory at a time."""
    found = {}
    for name in pq.read_schema(path).names:
        if not name.endswith('_ns') or name == 'stamp_ns':
            continue
        times_ns = pq.read_table(path, columns=[name])[name].drop_null().to_numpy()
        if len(times_ns):
            found[name.removesuffix('_ns')] = percentiles_ms(times_ns)
    return found


def percentiles_ms(times_ns: NDArray[np.int64]) -> dict[str, float]:
    """Return p50, p95, p99 and the largest of times, int64 [N], N of 1 or more."""
    percentiles = np.percentile(times_ns, (50, 95, 99, 100), method='inverted_cdf') / 1e6
    return {
        f'{key}_ms': round(float(value), 3)
        for key, value in zip(('p50', 'p95', 'p99', 'max'), percentiles, strict=True)
    }
