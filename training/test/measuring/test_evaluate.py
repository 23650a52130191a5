"""Several engines on the same images, the worst of them, and what is recorded."""

import json
from pathlib import Path

from builders import make_config, sources, STREETS
import cv2
import numpy as np
import pytest

from perception_training.config import Config
from perception_training.data.readers import Kept
from perception_training.data.sample import Sample
from perception_training.errors import TrainingError
from perception_training.measuring.evaluate import measure_all, SetScores, spread
from perception_training.measuring.pictures import colours_of, GAP_PX, truth_and_answer
from perception_training.measuring.predict import Prediction
from perception_training.measuring.records import Measured, read_evaluations, write_evaluation

TORCH = Measured('checkpoint', 'torch', 'cpu', 'fp32', 'last.pt', 3.8, 10, 2, 0.1)


class Counted(Kept):
    """Streets that count how often they are read."""

    reads = 0

    def __getitem__(self, index: int) -> Sample:
        self.reads += 1
        return super().__getitem__(index)


def answer(sample: Sample, shift: float = 0.0, score: float = 0.9) -> Prediction:
    return Prediction(sample.boxes + np.float32(shift), sample.labels.astype(np.int32),
                      np.full(len(sample.boxes), score, np.float32), dict(sample.semantic))


def by_image(**how: float):
    return lambda image: answer(next(s for s in STREETS if s.image is image), **how)


@pytest.fixture
def scores(config: Config) -> dict[str, SetScores]:
    """Give the truth, and an engine that errs in the second street alone."""
    right, wrong = by_image(), by_image(shift=40.0)
    return measure_all(sources()[0], config, {
        'right': right, 'wrong': lambda i: (wrong if i is STREETS[1].image else right)(i)})


def test_each_image_is_read_once_for_all_engines(config: Config) -> None:
    source = Counted('streets', list(STREETS))
    seen = []
    measure_all(source, config, {'a': by_image(), 'b': by_image()},
                watch=lambda sample, guesses: seen.append((sample.name, sorted(guesses))))
    assert source.reads == 2
    assert seen == [('a', ['a', 'b']), ('b', ['a', 'b'])]


@pytest.mark.parametrize(('count', 'most', 'expected'), [
    (5, None, [0, 1, 2, 3, 4]), (5, 9, [0, 1, 2, 3, 4]), (101, 3, [0, 50, 100]), (7, 1, [0])])
def test_a_part_of_the_images_is_evenly_spread(
    count: int, most: int | None, expected: list[int]
) -> None:
    assert list(spread(count, most)) == expected


def test_the_worst_images_are_those_with_errors(scores: dict[str, SetScores]) -> None:
    assert scores['right'].cases() == {'boxes': [], 'scene': []}
    [case] = scores['wrong'].cases()['boxes']
    assert (case.sample.name, case.verdict.said) == ('b', '1 missed, 1 false')
    assert case.verdict.cost == pytest.approx(1.9)


def test_the_truth_stands_left_and_the_answer_right(config: Config) -> None:
    sample = STREETS[0]
    picture = truth_and_answer(config, sample, answer(sample, shift=30.0), ('boxes',), width=256)
    assert picture.shape == (192, 2 * 256 + GAP_PX, 3)
    car = colours_of(config.labels.boxes)[0]
    left, right = (np.argwhere((half == car).all(2)) for half in (
        picture[:, :256], picture[:, 256 + GAP_PX:]))
    # Twice as large as the image; the lower edge has no label on it.
    assert left[:, 0].max() == pytest.approx(2 * 72, abs=2)
    assert right[:, 0].max() == pytest.approx(min(2 * 102, 191), abs=2)


def test_masks_of_boxes_are_a_head_of_their_own(config: Config) -> None:
    def predict(image: np.ndarray) -> Prediction:
        sample = next(s for s in STREETS if s.image is image)
        return answer(sample)._replace(masks=sample.masks > 0)

    found = measure_all(sources()[0], config, {'a': predict})['a']
    assert found.metrics()['masks']['map50'] == found.details()['masks']['map50'] == 1
    assert found.details()['masks']['classes']['car']['precision_at_recall'] == [1] * 101


def test_masks_of_boxes_are_drawn_where_both_sides_have_them(config: Config) -> None:
    sample = STREETS[0]
    guess = answer(sample)
    plain = truth_and_answer(config, sample, guess, ('boxes',))
    masked = truth_and_answer(config, sample, guess._replace(masks=sample.masks > 0), ('boxes',))
    changed = np.argwhere((plain != masked).any(2))
    # Nothing but the car itself, 20 to 60 of 128 px, on either side.
    columns = changed[:, 1] % (480 + GAP_PX) * 128 / 480
    assert columns.min() >= 20 - 1 and columns.max() <= 60 + 1
    assert len(changed) > 0.7 * 2 * (40 * 32) * (480 / 128) ** 2


def test_what_is_below_the_score_threshold_is_not_drawn(config: Config) -> None:
    sample = STREETS[0]
    weak = answer(sample, score=config.bundle.score_threshold - 0.01)
    none = Prediction(weak.boxes[:0], weak.labels[:0], weak.scores[:0], {})
    np.testing.assert_array_equal(truth_and_answer(config, sample, weak, ('boxes',)),
                                  truth_and_answer(config, sample, none, ('boxes',)))


def test_what_was_measured_is_read_back_the_checkpoint_first(
    config: Config, scores: dict[str, SetScores]
) -> None:
    openvino = Measured('openvino', 'openvino 1', 'cpu', 'fp32', 'tiny 123', 3.9)
    write_evaluation(config, openvino, {'streets': scores['wrong']}, {'with': 'x', 'ok': False})
    write_evaluation(config, TORCH, {'streets': scores['wrong']}, pictures=True)
    first, second = read_evaluations(config.run_dir)
    assert (first['engine'], second['engine']) == ('checkpoint', 'openvino')
    assert second['agreement']['ok'] is False and second['worst'] == []
    found = first['sets']['streets']
    assert (found['images'], found['of']) == (2, 2)
    assert found['details']['boxes']['map50'] == found['metrics']['boxes']['map50'] == 0.5
    assert found['details']['boxes']['confusion']['counts'][2][-1] == 1  # the truck is missed
    [row] = first['worst']
    drawn = cv2.imread(str(config.run_dir / 'evaluation' / row['file']))
    assert drawn.shape[1] == 2 * 480 + GAP_PX


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    (tmp_path / 'evaluation').mkdir()
    (tmp_path / 'evaluation' / 'openvino.json').write_text(json.dumps({'backend': 'openvino'}))
    with pytest.raises(TrainingError, match=r"openvino\.json.*KeyError\('engine'\)"):
        read_evaluations(tmp_path)


def test_sets_without_boxes_are_measured_by_their_masks(tmp_path: Path) -> None:
    config = make_config(tmp_path, labels__boxes=())
    bare = Kept('bare', [Sample('a', STREETS[0].image, semantic=STREETS[0].semantic)])
    nothing = Prediction(np.zeros((0, 4), np.float32), np.zeros(0, np.int32),
                         np.zeros(0, np.float32), dict(STREETS[0].semantic))
    found = measure_all(bare, config, {'a': lambda image: nothing})['a']
    assert set(found.details()) == {'scene'}
