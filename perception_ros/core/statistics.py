"""What the pipeline counted since it started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        self._detections: dict[str, NDArray[np.int64]] = {}
        self._class_names: dict[str, tuple[str, ...]] = {}
        """By model; its detections are counted in the order of these."""
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
        found = result.detections
        counts = None
        if found is not None and len(found):
            counts = np.bincount(found.labels, minlength=len(found.class_names))
        with self._lock:
            self._inferred[(result.frame.camera, result.model)] += 1
            if found is None or counts is None:
                return
            if result.model in self._detections:
                self._detections[result.model] += counts
            else:
                self._detections[result.model] = counts
                self._class_names[result.model] = found.class_names

    def snapshot(self) -> dict[str, Any]:
        """Return all counters as plain values, ready for JSON."""
        with self._lock:
            reasons: Counter[str] = Counter()
            by_camera: dict[str, Counter[str]] = {}
            by_model: dict[str, Counter[str]] = {}
            for (camera, model, reason), count in self._dropped.items():
                reasons[reason] += count
                by_camera.setdefault(camera, Counter())[reason] += count
                if model:
                    by_model.setdefault(model, Counter())[reason] += count
            inferred: Counter[str] = Counter()
            for (_, model), count in self._inferred.items():
                inferred[model] += count
            detections = {
                model: {
                    name: count
                    for name, count in sorted(
                        zip(self._class_names[model], counts.tolist(), strict=True)
                    )
                    if count
                }
                for model, counts in sorted(self._detections.items())
            }
            return {
                'frames_received': dict(self._received),
                'frame_sets': self._frame_sets,
                'frames_missing': dict(self._missing),
                'frames_inferred': dict(inferred),
                'frames_dropped': dict(reasons),
                'frames_dropped_by_camera': {c: dict(r) for c, r in by_camera.items()},
                'frames_dropped_by_model': {m: dict(r) for m, r in by_model.items()},
                'engine_calls': dict(self._engine_calls),
                'detections': detections,
            }
