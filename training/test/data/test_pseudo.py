"""Teachers say only what they are sure of."""

from dataclasses import replace
from pathlib import Path

from builders import CLASSES, ROAD, SCENE, street
import numpy as np
import pytest

from perception_training.config.labels import LabelsConfig
from perception_training.data.pseudo import restore, Rules, save
from perception_training.data.sample import EXCLUDED, Sample, UNKNOWN, UNKNOWN_BOX
from perception_training.data.teachers import Found, suppress
from perception_training.errors import DataError

CAR = (20, 40, 60, 72)
LABELS = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE})
RULES = Rules(LABELS, 'scene', 0.5)


def bare() -> Sample:
    return street('a', CAR, boxes=False)


def found(*boxes: tuple[float, ...], labels: tuple[int, ...] = (0,),
          scores: tuple[float, ...] = (0.9,)) -> Found:
    return Found(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels[:len(boxes)]),
                 np.array(scores[:len(boxes)], np.float32))


def test_a_box_that_the_scene_confirms_becomes_a_label() -> None:
    taught = RULES.confirm(bare(), found(CAR))
    assert taught.labels.tolist() == [0]
    assert taught.labelled.all()


def test_a_weak_box_over_sky_is_dropped_and_the_missed_car_is_unknown() -> None:
    """The scene says that there is a car: its pixels must not be taught as background."""
    taught = RULES.confirm(bare(), found((70, 2, 90, 20), scores=(0.3,)))
    assert taught.labels.tolist() == [UNKNOWN_BOX]
    assert taught.boxes[0].tolist() == list(CAR)


def test_labels_stand_and_other_finds_are_unknown() -> None:
    """IDD leaves out riders: the teacher's find is no label, but no background either."""
    taught = RULES.complete(
        street('a', CAR), found((21, 41, 61, 71), (90, 40, 100, 70), labels=(0, 1),
                                scores=(0.9, 0.9)), np.zeros((96, 128), np.float32))
    assert taught.labels.tolist() == [0, UNKNOWN_BOX]
    assert taught.boxes[1].tolist() == [90, 40, 100, 70]
    assert taught.semantic_weight == 0.5


def test_only_confident_road_is_road_and_far_above_it_is_neither_road_nor_car() -> None:
    road = np.zeros((96, 128), np.float32)
    road[60:] = 0.95
    road[50:60] = 0.6
    scene = RULES.label(bare(), found(), road).semantic['scene']
    assert (scene[60:] == ROAD).all()
    assert (scene[55:60] == UNKNOWN).all()
    assert (scene[:50] == EXCLUDED).all()


def test_rules_refuse_classes_that_they_do_not_know() -> None:
    with pytest.raises(DataError, match='pseudo: expected boxes of'):
        Rules(LabelsConfig(boxes=('cow',), semantic={'scene': SCENE}), 'scene', 0.5)


def test_suppression_keeps_the_best_of_a_cluster() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.3])).tolist() == [1, 2]


def test_kept_labels_are_those_that_were_made(tmp_path: Path) -> None:
    """A resumed run must learn from the same labels."""
    taught = RULES.confirm(bare(), found(CAR))
    save({'0': [taught]}, tmp_path / 'teachers.npz')
    got = restore({'0': [bare()]}, tmp_path / 'teachers.npz')['0'][0]
    np.testing.assert_array_equal(got.boxes, taught.boxes)
    np.testing.assert_array_equal(got.semantic['scene'], taught.semantic['scene'])
    assert got.labels.tolist() == [0]
    assert got.labelled.all()


def test_kept_labels_of_other_images_are_refused(tmp_path: Path) -> None:
    save({'0': [bare()]}, tmp_path / 'teachers.npz')
    with pytest.raises(DataError, match='delete the file'):
        restore({'0': [replace(bare(), name='other')]}, tmp_path / 'teachers.npz')
