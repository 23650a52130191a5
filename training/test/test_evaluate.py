"""Metrics are 1 for the truth and fall for errors."""

from conftest import street
import numpy as np
import pytest

from perception_training.data import UNKNOWN_SCENE
from perception_training.evaluate import box_metrics, Prediction, scene_metrics

SAMPLES = [street('a', (20, 40, 60, 72)), street('b', (70, 44, 118, 90), label=2)]


def _oracle(shift: float = 0.0, label: int = 0):
    """Answer from the samples themselves, boxes shifted and labels turned."""

    def predict(image: np.ndarray) -> Prediction:
        sample = next(s for s in SAMPLES if (s.image == image).all())
        return Prediction(sample.boxes + np.float32(shift),
                          ((sample.labels + label) % 5).astype(np.int32),
                          np.array([0.9], np.float32), sample.scene)

    return predict


def test_the_truth_scores_one() -> None:
    result = box_metrics(SAMPLES, _oracle())
    assert result['map50'] == 1
    assert {n: c['n'] for n, c in result['classes'].items() if c['n']} == {'car': 1, 'truck': 1}
    assert scene_metrics(SAMPLES, _oracle())['pixel_accuracy'] == 1


@pytest.mark.parametrize('predict', [
    pytest.param(_oracle(shift=30), id='beside'), pytest.param(_oracle(label=1), id='other-class'),
])
def test_wrong_boxes_score_nothing(predict) -> None:
    assert box_metrics(SAMPLES, predict)['map50'] == 0


def test_absent_classes_count_in_neither_mean_nor_n() -> None:
    """Classes without a true box have no AP; a zero there would be a lie in either direction."""
    assert box_metrics(SAMPLES[:1], _oracle())['map50'] == 1


def test_unknown_pixels_are_not_counted() -> None:
    sample = street('a', (20, 40, 60, 72))
    sample.scene[:10] = UNKNOWN_SCENE

    def predict(image: np.ndarray) -> Prediction:
        answer = np.where(sample.scene == UNKNOWN_SCENE, 5, sample.scene).astype(np.uint8)
        return Prediction(*_oracle()(SAMPLES[0].image)[:3], answer)

    assert scene_metrics([sample], predict)['pixel_accuracy'] == 1
