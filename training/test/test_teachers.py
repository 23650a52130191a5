"""Teachers say only what they are sure of."""

from pathlib import Path

from conftest import street
import numpy as np

from perception_training.data import BACKDROP, Sample, UNKNOWN_BOX, UNKNOWN_SCENE
from perception_training.teachers import (
    Found,
    restore,
    ROAD,
    save,
    suppress,
    teach_camvid,
    teach_clip,
    teach_idd,
)

CAR = (20, 40, 60, 72)


def _bare() -> Sample:
    sample = street('a', CAR)
    return Sample('a', sample.image, np.zeros((0, 4), np.float32), np.zeros(0, np.int64),
                  sample.scene)


def _found(*boxes: tuple[float, ...], labels: tuple[int, ...] = (0,),
           scores: tuple[float, ...] = (0.9,)) -> Found:
    return Found(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels[:len(boxes)]),
                 np.array(scores[:len(boxes)], np.float32))


def test_a_box_that_the_scene_confirms_becomes_a_label() -> None:
    assert teach_camvid(_bare(), _found(CAR)).labels.tolist() == [0]


def test_a_weak_box_over_sky_is_dropped_and_the_missed_car_is_unknown() -> None:
    """The scene says that there is a car: its pixels must not be taught as background."""
    taught = teach_camvid(_bare(), _found((70, 2, 90, 20), scores=(0.3,)))
    assert taught.labels.tolist() == [UNKNOWN_BOX]
    assert taught.boxes[0].tolist() == list(CAR)


def test_idd_labels_stand_and_other_finds_are_unknown() -> None:
    """IDD leaves out riders: the teacher's find is no label, but no background either."""
    taught = teach_idd(street('a', CAR), _found((21, 41, 61, 71), (90, 40, 100, 70),
                                                labels=(0, 1), scores=(0.9, 0.9)),
                       np.zeros((96, 128), np.float32))
    assert taught.labels.tolist() == [0, UNKNOWN_BOX]
    assert taught.boxes[1].tolist() == [90, 40, 100, 70]


def test_only_confident_road_is_road_and_far_above_it_is_neither_road_nor_car() -> None:
    road = np.zeros((96, 128), np.float32)
    road[60:] = 0.95
    road[50:60] = 0.6
    scene = teach_clip(_bare(), _found(), road).scene
    assert (scene[60:] == ROAD).all()
    assert (scene[55:60] == UNKNOWN_SCENE).all()
    assert (scene[:50] == BACKDROP).all()


def test_suppression_keeps_the_best_of_a_cluster() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], np.float32)
    assert suppress(boxes, np.array([0.5, 0.9, 0.3])).tolist() == [1, 2]


def test_kept_labels_are_those_that_were_made(tmp_path: Path) -> None:
    """A resumed run must learn from the same labels."""
    taught = {'camvid': [teach_camvid(_bare(), _found(CAR))]}
    save(taught, tmp_path / 'teachers.npz')
    got = restore({'camvid': [_bare()]}, tmp_path / 'teachers.npz')['camvid'][0]
    np.testing.assert_array_equal(got.boxes, taught['camvid'][0].boxes)
    np.testing.assert_array_equal(got.scene, taught['camvid'][0].scene)
    assert got.labels.tolist() == [0]
