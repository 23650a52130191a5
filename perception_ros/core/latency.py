"""Where the time goes: p50, p95, p99 and max for each camera and stage, in fixed memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
import math
import threading

STAGES = (
    'transport',
    'synchronize',
    'schedule',
    'prepare',
    'infer',
    'restore',
    'publish',
    'total',
)
"""Stages of a frame's way, in order.

transport: sensor stamp to receipt (ROS clock); synchronize: receipt to frame set; schedule: set to
batch; prepare: decoding and letterbox; infer: the engine call; restore: back into camera pixels;
publish: handing over to the middleware; total: sensor stamp to published, or from receipt where
the stamp is not comparable.
"""

_BUCKETS_PER_DOUBLING = 50
"""Resolution: neighbouring buckets differ by 2 ** (1 / 50), so a percentile is right to 1.4 %."""


@dataclass(slots=True)
class Histogram:
    """Durations in logarithmic buckets; two histograms add exactly, in any order."""

    counts: dict[int, int] = field(default_factory=dict)
    total: int = 0
    max_ns: int = 0

    def add(self, duration_ns: int) -> None:
        """Count one duration; a negative one (clocks that disagree) counts as zero."""
        duration_ns = max(duration_ns, 0)
        bucket = round(math.log2(duration_ns + 1) * _BUCKETS_PER_DOUBLING)
        self.counts[bucket] = self.counts.get(bucket, 0) + 1
        self.total += 1
        self.max_ns = max(self.max_ns, duration_ns)

    def merge(self, other: Histogram) -> None:
        """Count all that `other` has counted as well."""
        for bucket, count in other.counts.items():
            self.counts[bucket] = self.counts.get(bucket, 0) + count
        self.total += other.total
        self.max_ns = max(self.max_ns, other.max_ns)

    def percentile_ms(self, percent: float) -> float:
        """Return the duration in ms that `percent` of all stay at or below; 0 when empty."""
        rank = max(math.ceil(self.total * percent / 100.0), 1)
        seen = 0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if seen >= rank:
                duration_ns: float = 2.0 ** (bucket / _BUCKETS_PER_DOUBLING) - 1.0
                return min(duration_ns, float(self.max_ns)) / 1e6
        return 0.0

    def summary_ms(self) -> dict[str, float]:
        """Return p50, p95, p99 and max in ms."""
        return {
            'p50': round(self.percentile_ms(50), 3),
            'p95': round(self.percentile_ms(95), 3),
            'p99': round(self.percentile_ms(99), 3),
            'max': round(self.max_ns / 1e6, 3),
        }


class LatencyRecorder:
    """Histograms by (camera, stage). Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histograms: dict[tuple[str, str], Histogram] = {}

    def record(self, camera: str, times_ns: Mapping[str, int]) -> None:
        """Count the stage durations of one frame; keys are some of `STAGES`."""
        with self._lock:
            for stage, duration_ns in times_ns.items():
                self._histograms.setdefault((camera, stage), Histogram()).add(duration_ns)

    def take(self) -> dict[tuple[str, str], Histogram]:
        """Return what was counted since the last call, and begin afresh."""
        with self._lock:
            taken, self._histograms = self._histograms, {}
        return taken


def merge_cameras(histograms: Mapping[tuple[str, str], Histogram], stage: str) -> Histogram:
    """Return one stage over all cameras."""
    merged = Histogram()
    for (_, its_stage), histogram in histograms.items():
        if its_stage == stage:
            merged.merge(histogram)
    return merged
