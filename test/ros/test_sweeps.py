"""What the perception node says, as the fusion reads it: in place, and what is damaged."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')
pytest.importorskip('tf2_msgs', reason='needs tf2_msgs')

from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_ros.fusion.pipeline import ImageOutputs
from perception_ros.ros.messages import to_header, to_label_info
from perception_ros.ros.serialise import (
    serialise_detections,
    serialise_instances,
    serialise_semantic,
)
from perception_ros.ros.sweeps import Results

NAMES = ('car', 'person')
BOXES = np.array([[10, 20, 110, 220], [0, 0, 5.5, 7]], np.float32)
MASK = np.arange(12, dtype=np.uint8).reshape(3, 4)
INSTANCES = np.array([[0, 1, 2], [300, 0, 0]], np.uint16)


def messages() -> dict[str, memoryview]:
    """Return what the perception node sends about one image, as it lies on the wire."""
    found = Detections(
        BOXES, np.array([0.9, 0.4], np.float32), np.array([1, 0], np.int32), NAMES,
        ids=('00000007', ''),
    )
    return {
        'detections': serialise_detections(5, 'front', found),
        'semantic/scene': serialise_semantic(5, 'front', SemanticMask(MASK, NAMES)),
        'instances': serialise_instances(5, 'front', InstanceMasks(INSTANCES)),
    }


def decode(said: dict[str, memoryview], *, named: bool = True) -> ImageOutputs:
    results = Results()
    if named:
        info = to_label_info(to_header(0, ''), NAMES)
        results.name_classes('front', 'semantic/scene', info)
    return results.decode('front', said)


def test_what_one_node_writes_the_other_reads() -> None:
    said = decode(messages())
    assert (said.frame_id, said.problems, said.size) == ('front', (), (4, 3))
    assert said.detections is not None and said.semantic is not None
    np.testing.assert_allclose(said.detections.boxes, BOXES)
    np.testing.assert_allclose(said.detections.scores, [0.9, 0.4], rtol=1e-6)
    names = [said.detections.class_names[label] for label in said.detections.labels]
    assert (names, said.ids) == (['person', 'car'], ('00000007', ''))
    np.testing.assert_array_equal(said.semantic['scene'].class_ids, MASK)
    assert said.semantic['scene'].class_names == NAMES
    assert said.instances is not None
    np.testing.assert_array_equal(said.instances.indices, INSTANCES)


def test_a_mask_is_not_copied() -> None:
    """Six cameras of 1600x900 would be 260 MB a second, for nothing."""
    message = np.frombuffer(messages()['semantic/scene'], np.uint8)
    said = decode({'semantic/scene': message.data})
    assert said.semantic
    assert np.shares_memory(said.semantic['scene'].class_ids, message)


def as_mono16(said: dict[str, memoryview]) -> None:
    said['semantic/scene'] = said['instances']


def cut_off(said: dict[str, memoryview]) -> None:
    said['semantic/scene'] = said['semantic/scene'][:-5]


def no_message(said: dict[str, memoryview]) -> None:
    said['semantic/scene'] = memoryview(b'\7\7')


@pytest.mark.parametrize(('spoil', 'why'), [
    (as_mono16, "'mono16': expected mono8"), (cut_off, 'ends within data'),
    (no_message, 'plain CDR'),
])
def test_a_mask_that_is_none_costs_itself_alone(spoil: object, why: str) -> None:
    said = messages()
    spoil(said)  # type: ignore[operator]
    read = decode(said)
    [problem] = read.problems
    assert problem.startswith('semantic/scene: ') and why in problem
    assert read.detections is not None and read.instances is not None
    assert read.says_anything and not read.semantic


def test_a_mask_whose_ids_nobody_has_named_is_left_out() -> None:
    read = decode(messages(), named=False)
    assert 'LabelInfo' in read.problems[0]
    assert read.detections is not None


@pytest.mark.parametrize('length', [3, 20, 100])
def test_boxes_that_were_cut_off_are_told(length: int) -> None:
    """What rclpy raises is no error of ours, and would have cost the whole sweep."""
    read = decode({'detections': messages()['detections'][:length]})
    assert read.problems and not read.says_anything


def test_a_box_that_is_no_number_is_left_out() -> None:
    """Nothing can be where it is, and it must not make all others NaN."""
    boxes = BOXES.copy()
    boxes[0, 2] = np.nan
    found = Detections(
        boxes, np.array([0.9, 0.4], np.float32), np.array([1, 0], np.int32), NAMES
    )
    read = decode({'detections': serialise_detections(5, 'front', found)})
    assert read.detections is not None
    np.testing.assert_allclose(read.detections.boxes, BOXES[1:])
    assert read.detections.class_names == ('car',)


def test_masks_count_the_boxes_that_are_left() -> None:
    """Or a mask would give the points of a car to the person beside it."""
    boxes = np.concatenate([BOXES, BOXES + 3])
    boxes[1, 2] = np.nan
    found = Detections(
        boxes, np.full(4, 0.9, np.float32), np.zeros(4, np.int32), NAMES
    )
    masks = InstanceMasks(np.array([[0, 1, 2], [3, 4, 300]], np.uint16))
    for order in (1, -1):
        said = {
            'detections': serialise_detections(5, 'front', found),
            'instances': serialise_instances(5, 'front', masks),
        }
        read = decode(dict([*said.items()][::order]))
        assert read.detections is not None and read.instances is not None
        np.testing.assert_allclose(read.detections.boxes, boxes[[0, 2, 3]])
        assert read.instances.indices.tolist() == [[0, 1, 0], [2, 3, 0]]
