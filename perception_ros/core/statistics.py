"""What the pipeline counted since it started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
import threading
from typing import Any

import numpy as np

from perception_ros.core.types import Drop, DropReason, FrameSet, Result


class Statistics:
    """Counters by camera, model and reason. Safe to use from several threads.

    A frame counts once as received, and then for each model that takes it as inferred or dropped.
    A frame that the synchroniser drops is dropped for all models at once, with model ''.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received: Counter[str] = Counter()
        self._missing: Counter[str] = Counter()
        self._dropped: Counter[tuple[str, str, str]] = Counter()
        self._inferred: Counter[tuple[str, str]] = Counter()
        self._detections: Counter[tuple[str, str]] = Counter()
        self._engine_calls: Counter[str] = Counter()
        self._frame_sets = 0

    def received(self, camera: str) -> None:
        """Count a frame that came in, good or bad."""
        with self._lock:
            self._received[camera] += 1

    def matched(self, frame_set: FrameSet) -> None:
        """Count a frame set, before anything else is counted of its frames."""
        with self._lock:
            self._frame_sets += 1

    def dropped(self, drops: Iterable[Drop]) -> None:
        """Count drop records; a `MISSING` one is no frame and counts apart."""
        with self._lock:
            for drop in drops:
                if drop.reason is DropReason.MISSING:
                    self._missing[drop.camera] += 1
                else:
                    self._dropped[(drop.camera, drop.model, drop.reason.value)] += 1

    def called(self, model: str) -> None:
        """Count an engine call."""
        with self._lock:
            self._engine_calls[model] += 1

    def inferred(self, result: Result) -> None:
        """Count a frame that has its result."""
        with self._lock:
            self._inferred[(result.frame.camera, result.model)] += 1
            if result.detections is not None:
                counts = np.bincount(result.detections.labels)
                for label in np.flatnonzero(counts):
                    name = result.detections.class_names[label]
                    self._detections[(result.model, name)] += int(counts[label])

    def snapshot(self) -> dict[str, Any]:
        """Return all counters as plain values, ready for JSON."""
        with self._lock:
            reasons: Counter[str] = Counter()
            by_camera: dict[str, Counter[str]] = {}
            for (camera, _, reason), count in self._dropped.items():
                reasons[reason] += count
                by_camera.setdefault(camera, Counter())[reason] += count
            inferred: Counter[str] = Counter()
            for (_, model), count in self._inferred.items():
                inferred[model] += count
            detections: dict[str, dict[str, int]] = {}
            for (model, name), count in sorted(self._detections.items()):
                detections.setdefault(model, {})[name] = count
            return {
                'frames_received': dict(self._received),
                'frame_sets': self._frame_sets,
                'frames_missing': dict(self._missing),
                'frames_inferred': dict(inferred),
                'frames_dropped': dict(reasons),
                'frames_dropped_by_camera': {c: dict(r) for c, r in by_camera.items()},
                'engine_calls': dict(self._engine_calls),
                'detections': detections,
            }
