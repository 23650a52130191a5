"""Metrics are 1 for the truth and fall for errors."""

from dataclasses import replace
from pathlib import Path

from builders import CLASSES, make_config, SCENE, sources, street, STREETS
import numpy as np
import pytest

from perception_training.data.sample import Sample, UNKNOWN
from perception_training.measuring.evaluate import measure
from perception_training.measuring.predict import Prediction
from perception_training.measuring.scores import (
    BoxScores,
    InstanceScores,
    overall,
    SemanticScores,
)


def oracle(sample: Sample, shift: float = 0.0, label: int = 0) -> Prediction:
    """Answer from a sample itself, boxes shifted and labels turned."""
    return Prediction(sample.boxes + np.float32(shift),
                      ((sample.labels + label) % 5).astype(np.int32),
                      np.full(len(sample.boxes), 0.9, np.float32), dict(sample.semantic))


def box_mask(left: int, right: int) -> np.ndarray:
    mask = np.zeros((96, 128), np.uint8)
    mask[40:72, left:right] = 1
    return mask


def boxes(samples: tuple[Sample, ...], **wrong: float) -> dict:
    scorer = BoxScores(CLASSES, 0.3)
    for sample in samples:
        scorer.add(sample, oracle(sample, **wrong))
    return scorer.metrics()


def test_true_boxes_score_one() -> None:
    result = boxes(STREETS)
    assert result['map50'] == result['map'] == 1
    assert {n: c['n'] for n, c in result['classes'].items() if c['n']} == {'car': 1, 'truck': 1}


@pytest.mark.parametrize('wrong', [{'shift': 30}, {'label': 1}], ids=['beside', 'other-class'])
def test_wrong_boxes_score_nothing(wrong: dict[str, float]) -> None:
    assert boxes(STREETS, **wrong)['map50'] == 0


def test_absent_classes_count_in_neither_mean_nor_n() -> None:
    """Classes without a true box have no AP; a zero there would be a lie in either direction."""
    assert boxes(STREETS[:1])['map50'] == 1


def test_classes_that_a_set_does_not_label_are_left_out() -> None:
    sample = street('a', (20, 40, 60, 72))
    sample.labelled[3:] = False
    assert set(boxes((sample,))['classes']) == {'car', 'person', 'truck'}


def test_a_class_is_neither_right_nor_wrong_where_it_is_not_labelled() -> None:
    """Sets that label different classes may be measured as one."""
    without = street('b', (20, 40, 60, 72))
    without.labelled[2] = False
    scorer = BoxScores(CLASSES, 0.3)
    scorer.add(STREETS[1], oracle(STREETS[1]))
    assert scorer.add(without, oracle(without, label=2)).said == '1 missed, 0 false'
    assert scorer.metrics()['classes']['truck']['ap50'] == 1


@pytest.mark.parametrize('label', [0, 3], ids=['of a class with objects', 'of another class'])
def test_what_is_found_in_an_unknown_region_is_neither_right_nor_wrong(label: int) -> None:
    """Nobody knows what is there, of whatever class; beside it a box is as false as ever."""
    sample = replace(
        street('a', (20, 40, 60, 72)), labels=np.array([0, -1]),
        boxes=np.array([[20, 40, 60, 72], [80, 40, 120, 72]], np.float32),
        masks=np.stack([box_mask(20, 60), box_mask(80, 120)]))

    def answer(x: int) -> Prediction:
        found = np.array([[x, 44, x + 30, 70], [20, 40, 60, 72]], np.float32)
        return Prediction(found, np.array([label, 0], np.int32), np.array([0.9, 0.8], np.float32),
                          {}, np.stack([box_mask(x, x + 30), box_mask(20, 60)]).astype(bool))

    boxes, masks = BoxScores(CLASSES, 0.3), InstanceScores(CLASSES)
    assert boxes.add(sample, answer(85)) == (0, '0 missed, 0 false')
    masks.add(sample, answer(85))
    for scorer in (boxes, masks):
        assert scorer.metrics()['classes']['car'] == {'n': 1, 'ap50': 1, 'ap': 1}
    assert boxes.add(sample, answer(60)).said == '0 missed, 1 false'


def test_details_have_sizes_thresholds_curves_and_confusion() -> None:
    scorer = BoxScores(CLASSES, 0.3)
    for sample in STREETS:
        scorer.add(sample, oracle(sample))
    details = scorer.details()
    car = details['classes']['car']
    assert car['sizes']['medium']['ap'] == 1 and car['sizes']['small']['n'] == 0
    assert car['best_f1'] == {'f1': 1, 'score': pytest.approx(0.9), 'precision': 1, 'recall': 1}
    assert car['precision_at_recall'] == [1] * 101
    assert car['f1_at_score'] == [1] * 90 + [car['f1_at_score'][90]] + [0] * 10
    assert details['confusion']['counts'][0][0] == details['confusion']['counts'][2][2] == 1


@pytest.mark.parametrize(('metrics', 'expected'), [
    ({'a': {'boxes': {'map': 0.2, 'map50': 0.4}, 'scene': {'miou': 0.8}}}, 0.6),
    ({'a': {'scene': {'miou': 0.5}}, 'b': {'scene': {'miou': 0.7}}}, 0.6),
    ({}, 0.0)], ids=['heads', 'sets', 'nothing measured'])
def test_one_number_for_all(metrics: dict, expected: float) -> None:
    assert overall(metrics) == pytest.approx(expected)


def test_unknown_pixels_and_absent_classes_are_not_counted() -> None:
    truth = street('a', (20, 40, 60, 72)).semantic['scene']
    guess = truth.copy()
    truth[:10], guess[:10] = UNKNOWN, 5
    scorer = SemanticScores(SCENE)
    scorer.add(truth, guess)
    assert scorer.metrics()['pixel_accuracy'] == scorer.metrics()['miou'] == 1
    assert set(scorer.metrics()['iou']) == {'sky', 'road', 'car'}


def test_iou_is_intersection_over_union() -> None:
    scorer = SemanticScores(('a', 'b'))
    scorer.add(np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8))
    assert scorer.metrics()['iou'] == {'a': 0.6667, 'b': 0.5}


def test_a_set_is_measured_on_what_it_labels_alone(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    answers = {s.image.tobytes(): oracle(s) for s in STREETS}
    found = measure(sources()[0], config, lambda image: answers[image.tobytes()])
    assert found['boxes']['map50'] == found['scene']['miou'] == 1
    bare = sources([street('a', (20, 40, 60, 72), boxes=False)])[0]
    found = measure(bare, config, lambda image: answers[image.tobytes()])
    assert set(found) == {'scene'}
