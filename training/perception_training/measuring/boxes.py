"""Average precision of boxes, by COCO's rules."""

from collections.abc import Sequence
import contextlib
import io
from typing import Any

from faster_coco_eval import COCO, COCOeval_faster
import numpy as np
from numpy.typing import NDArray

from perception_training.data.sample import Sample
from perception_training.measuring.predict import Prediction


class BoxScorer:
    """
    Gathers true and found boxes image by image, then measures all at once.

    Classes that the set does not label are left out; means are over classes with a true box.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        self._classes = classes
        self._images: list[dict[str, Any]] = []
        self._truth: list[dict[str, Any]] = []
        self._found: list[dict[str, Any]] = []
        self._labelled = np.zeros(len(classes), bool)

    def __len__(self) -> int:
        return len(self._images)

    def add(self, sample: Sample, guess: Prediction) -> None:
        """Add an image; unknown regions are no true boxes."""
        image = len(self._images) + 1
        self._images.append({'id': image, 'width': sample.size[0], 'height': sample.size[1]})
        self._labelled |= sample.labelled
        for box, label in zip(sample.boxes, sample.labels, strict=True):
            if label >= 0:
                self._truth.append({
                    'id': len(self._truth) + 1, 'image_id': image, 'iscrowd': 0,
                    'category_id': int(label) + 1, **_coco_box(box)})
        self._found += [
            {'image_id': image, 'category_id': int(label) + 1, 'score': float(score),
             **_coco_box(box)}
            for box, label, score in zip(guess.boxes, guess.labels, guess.scores, strict=True)]

    def metrics(self) -> dict[str, Any]:
        """Give AP50 and AP50:95 per class with the number of true boxes n, and their means."""
        categories = [{'id': i, 'name': n} for i, n in enumerate(self._classes, 1)]
        judge = _judge({'images': self._images, 'annotations': self._truth,
                        'categories': categories}, self._found)
        classes = {}
        for index, name in enumerate(self._classes):
            if self._labelled[index]:
                # precision: [IoU, recall, class, area, detections]; all areas, most detections.
                precision = None if judge is None else judge.eval['precision'][:, :, index, 0, -1]
                classes[name] = {
                    'n': sum(t['category_id'] == index + 1 for t in self._truth),
                    'ap50': _mean(None if precision is None else precision[0]),
                    'ap': _mean(precision)}
        seen = [c for c in classes.values() if c['n']]
        return {'images': len(self), 'classes': classes,
                'map50': _mean_of([c['ap50'] for c in seen]),
                'map': _mean_of([c['ap'] for c in seen])}


def _judge(truth: dict[str, Any], found: list[dict[str, Any]]) -> Any:
    if not found:
        return None
    # The library prints its tables; the numbers are returned instead.
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(truth)
        judge = COCOeval_faster(coco, coco.loadRes(found), 'bbox')
        judge.evaluate()
        judge.accumulate()
    return judge


def _coco_box(box: NDArray[np.float32]) -> dict[str, Any]:
    x0, y0, x1, y1 = (float(v) for v in box)
    return {'bbox': [x0, y0, x1 - x0, y1 - y0], 'area': (x1 - x0) * (y1 - y0)}


def _mean(values: NDArray[np.float64] | None) -> float:
    if values is None or not (values > -1).any():
        return 0.0
    return round(float(values[values > -1].mean()), 4)


def _mean_of(values: list[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0
