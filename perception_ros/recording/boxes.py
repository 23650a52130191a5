"""Images with boxes, as COCO JSON or YOLO text has them: one camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets import BoxDataset, open_dataset
from perception_ros.recording.base import Recorder

_RATE_HZ = 10.0


def record_boxes(kind: str) -> Callable[[Path, str, Recorder], None]:
    """Return what records the images of a kind of data, in its order, with their boxes.

    Crowds are recorded as regions of which nothing is known.
    """

    def record(root: Path, split: str, recorder: Recorder) -> None:
        options = recorder.options
        data = open_dataset(f'{kind}:{root}', options.labels or None, split)
        if not isinstance(data, BoxDataset):
            raise DatasetError(f'{root}: expected boxes, got {type(data).__name__}')
        for index, path in enumerate(recorder.limited(data.images)):
            time_ns = recorder.time_ns(index, options.rate_hz or _RATE_HZ)
            size = recorder.image_file(options.camera, time_ns, path)
            truth = data.truth(path, size)
            names = [
                None if is_crowd else data.classes[label]
                for label, is_crowd in zip(truth.labels, truth.crowd, strict=True)
            ]
            recorder.boxes(options.camera, time_ns, truth.boxes, names, data.classes)

    return record
