"""What a run comes to, in numbers: made of its tables alone, however it ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
    'start_s', 'end_s', 'bundles', 'engines', 'config',
)
"""What `run.json` knows and the summary repeats."""


def summarise(folders: Sequence[Path]) -> dict[str, Any]:
    """Return counters, latencies and circumstances of finished runs, ready for JSON.

    Counters are added up, percentiles are those of all frames together. What was run is that of
    the first, but for bags and cameras.

    :raises ReplayError: one is none.
    """
    abouts = {folder.name: RunFolder(folder).read_about() for folder in folders}
    first, *_ = abouts.values()
    return {
        **_frames([folder / f'{FRAMES}.parquet' for folder in folders]),
        'detections': _detections([folder / f'{DETECTIONS}.parquet' for folder in folders]),
        'latency': _latency([folder / f'{TIMINGS}.parquet' for folder in folders]),
        'realtime': first.get(REALTIME_FIGURES),
        **{key: first.get(key) for key in _OF_RUN},
        'bag': _bags([about['bag'] for about in abouts.values()]),
        'cameras': {
            camera: topic
            for about in abouts.values() for camera, topic in about['cameras'].items()
        },
        'problems': [
            problem if len(abouts) == 1 else f'{name}: {problem}'
            for name, about in abouts.items() for problem in about.get('problems', ())
        ],
        'environment': Environment.here().model_dump(mode='json'),
    }


def _bags(bags: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if len(bags) == 1:
        return dict(bags[0])
    return {
        'name': f'{len(bags)} bags',
        'files': {name: size for bag in bags for name, size in bag['files'].items()},
        # Of different days, perhaps: how long they are together.
        'start_ns': 0,
        'end_ns': sum(bag['end_ns'] - bag['start_ns'] for bag in bags),
        'messages': sum(bag['messages'] for bag in bags),
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


def _frames(paths: Sequence[Path]) -> dict[str, Any]:
    outcomes: Counter[str] = Counter()
    dropped = Counter({reason.value: 0 for reason in DropReason if reason.value != MISSING})
    inferred: dict[str, int] = {}
    by_camera: dict[str, Counter[str]] = {}
    missing: dict[str, int] = {}
    sets = [0] * len(paths)
    columns = ('camera', 'model', 'outcome', 'reason', 'set')
    for run, (camera, model, outcome, reason, number) in (
        (run, row) for run, path in enumerate(paths) for row in read_rows(path, columns)
    ):
        outcomes[outcome] += 1
        if outcome == INFERRED:
            inferred[model] = inferred.get(model, 0) + 1
        elif outcome == DROPPED:
            dropped[reason] += 1
            by_camera.setdefault(camera, Counter())[reason] += 1
        else:
            missing[camera] = missing.get(camera, 0) + 1
        if number is not None:
            sets[run] = max(sets[run], number + 1)
    return {
        'frames': {INFERRED: outcomes[INFERRED], DROPPED: outcomes[DROPPED]},
        'frames_inferred': inferred,
        'frames_dropped': dict(dropped),
        'frames_dropped_by_camera': {name: dict(found) for name, found in by_camera.items()},
        'frames_missing': missing,
        'frame_sets': sum(sets),
    }


def _detections(paths: Sequence[Path]) -> dict[str, dict[str, int]]:
    counts: Counter[tuple[str, str]] = Counter(
        row for path in paths for row in read_rows(path, ('model', 'class'))
    )
    found: dict[str, dict[str, int]] = {}
    for (model, name), count in sorted(counts.items()):
        found.setdefault(model, {})[name] = count
    return found


def _latency(paths: Sequence[Path]) -> dict[str, dict[str, float]]:
    """Return percentiles in ms of each stage, one column in memory at a time."""
    found = {}
    for name in pq.read_schema(paths[0]).names:
        if not name.endswith('_ns') or name == 'stamp_ns':
            continue
        times_ns = np.concatenate([
            pq.read_table(path, columns=[name])[name].drop_null().to_numpy() for path in paths
        ])
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
