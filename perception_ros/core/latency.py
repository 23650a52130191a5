"""Where the time goes: p50, p95, p99 and max for each camera, model and stage, in fixed memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping
import math
import threading
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.passage import durations, Passage, STAGES

_BUCKETS_PER_DOUBLING = 25
"""Resolution: neighbouring buckets differ by 2 ** (1 / 25), so a percentile is right to 1.4 %."""
_BUCKETS = 45 * _BUCKETS_PER_DOUBLING
"""Up to 2 ** 45 ns, which are nine hours; what took longer counts as that long."""

_PENDING = 512
"""Frames that are counted together: many at once cost a tenth of one by one."""

_Key = TypeVar('_Key', bound=Hashable)


class Histogram:
    """Durations in logarithmic buckets; two histograms add exactly, in any order."""

    __slots__ = ('_counts', 'max_ns')

    def __init__(self) -> None:
        self._counts = np.zeros(_BUCKETS, np.int64)
        self.max_ns = 0

    @property
    def total(self) -> int:
        """How many were counted."""
        return int(self._counts.sum())

    def add(self, duration_ns: int) -> None:
        """Count one duration; a negative one (clocks that disagree) counts as zero."""
        self.add_all(np.array([duration_ns], np.int64))

    def add_all(self, durations_ns: NDArray[np.int64]) -> None:
        """Count durations, ns, int64 [N], N of 1 or more."""
        durations_ns = np.maximum(durations_ns, 0)
        buckets = np.rint(np.log2(durations_ns + 1.0) * _BUCKETS_PER_DOUBLING).astype(np.int64)
        self._counts += np.bincount(np.minimum(buckets, _BUCKETS - 1), minlength=_BUCKETS)
        self.max_ns = max(self.max_ns, int(durations_ns.max()))

    def merge(self, other: Histogram) -> None:
        """Count all that `other` has counted as well."""
        self._counts += other._counts
        self.max_ns = max(self.max_ns, other.max_ns)

    def percentile_ms(self, percent: float) -> float:
        """Return the duration in ms that `percent` of all stay at or below; 0 when empty."""
        return self._percentiles_ms(percent)[0]

    def summary_ms(self) -> dict[str, float]:
        """Return p50, p95, p99 and max in ms."""
        p50, p95, p99 = (round(value, 3) for value in self._percentiles_ms(50, 95, 99))
        return {'p50': p50, 'p95': p95, 'p99': p99, 'max': round(self.max_ns / 1e6, 3)}

    def _percentiles_ms(self, *percents: float) -> list[float]:
        seen = np.cumsum(self._counts)
        ranks = [max(math.ceil(seen[-1] * percent / 100.0), 1) for percent in percents]
        buckets = np.searchsorted(seen, ranks) if seen[-1] else np.zeros(len(ranks))
        durations_ns = np.minimum(2.0 ** (buckets / _BUCKETS_PER_DOUBLING) - 1.0, self.max_ns)
        found: list[float] = (durations_ns / 1e6).tolist()
        return found


class Key(NamedTuple):
    """Of what a histogram is."""

    camera: str
    model: str
    stage: str


class LatencyRecorder:
    """Histograms by camera, model and stage. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pending: deque[tuple[str, str, Passage]] = deque()
        self._histograms: dict[Key, Histogram] = {}

    def record(self, camera: str, model: str, passage: Passage) -> None:
        """Count how long the stages of one frame have taken."""
        self._pending.append((camera, model, passage))
        if len(self._pending) >= _PENDING:
            with self._lock:
                self._count()

    def take(self) -> dict[Key, Histogram]:
        """Return what was counted since the last call, and begin afresh."""
        with self._lock:
            self._count()
            taken, self._histograms = self._histograms, {}
        return taken

    def _count(self) -> None:
        """Count what is pending, while others may go on to record."""
        groups: dict[tuple[str, str, bool], list[Passage]] = {}
        for _ in range(len(self._pending)):
            camera, model, passage = self._pending.popleft()
            has_stamp = passage.stamped_ns is not None
            groups.setdefault((camera, model, has_stamp), []).append(passage)
        for (camera, model, has_stamp), passages in groups.items():
            for stage, durations_ns in zip(STAGES, durations(passages).T, strict=True):
                if has_stamp or stage != 'transport':
                    histogram = self._histograms.setdefault(
                        Key(camera, model, stage), Histogram()
                    )
                    histogram.add_all(durations_ns)


def merge_by(
    key: Callable[[Key], _Key], histograms: Mapping[Key, Histogram]
) -> dict[_Key, Histogram]:
    """Return what was counted under keys of one's own, in the order in which they come."""
    merged: dict[_Key, Histogram] = {}
    for its_key, histogram in histograms.items():
        merged.setdefault(key(its_key), Histogram()).merge(histogram)
    return merged
