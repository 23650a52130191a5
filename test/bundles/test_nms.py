"""Suppression in the graph against plain greedy suppression, written down here anew."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from onnx import helper, TensorProto
import onnxruntime as ort
import pytest

from perception_ros.bundles.graph.builder import GraphBuilder
from perception_ros.bundles.graph.nms import select, Selection
from perception_ros.core.errors import ImportModelError

ANCHORS = 48


@cache
def session(selection: Selection) -> ort.InferenceSession:
    builder = GraphBuilder('')
    select(builder, 'in_boxes', 'in_scores', 'in_labels', ANCHORS, selection)
    shapes = {'in_boxes': [ANCHORS, 4], 'in_scores': [ANCHORS], 'in_labels': [ANCHORS]}
    kind = {'labels': TensorProto.INT32, 'in_labels': TensorProto.INT32}
    graph = helper.make_graph(
        builder.nodes,
        'nms',
        [helper.make_tensor_value_info(n, kind.get(n, TensorProto.FLOAT), ['B', *shape])
         for n, shape in shapes.items()],
        [helper.make_tensor_value_info(n, kind.get(n, TensorProto.FLOAT), None)
         for n in ('boxes', 'scores', 'labels')],
        builder.initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=['CPUExecutionProvider'])


def suppress(
    selection: Selection, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray
) -> list[np.ndarray]:
    feeds = {'in_boxes': boxes, 'in_scores': scores, 'in_labels': labels}
    return session(selection).run(['boxes', 'scores', 'labels'], feeds)  # type: ignore[no-any-return]


def iou(one: np.ndarray, other: np.ndarray) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return float(width * height / (areas[0] + areas[1] - width * height))


def greedy(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, limit: float
) -> tuple[list[int], bool]:
    """Return the indices kept, best first, and whether an overlap is too close to call."""
    kept: list[int] = []
    doubtful = False
    for i in np.argsort(-scores, kind='stable'):
        overlaps = [iou(boxes[i], boxes[j]) for j in kept if labels[i] == labels[j]]
        doubtful |= any(abs(overlap - limit) < 1e-4 for overlap in overlaps)
        if scores[i] >= 0.001 and all(overlap <= limit for overlap in overlaps):
            kept.append(int(i))
    return kept, doubtful


@st.composite
def clusters(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes as detectors give them: many around each of a few objects, of a few classes."""
    seed, objects = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 12))
    spread = draw(st.sampled_from([0.5, 3.0, 10.0, 40.0]))
    rng = np.random.default_rng(seed)
    centre = rng.uniform(0, 200, (objects, 2))[rng.integers(0, objects, ANCHORS)]
    centre = centre + rng.normal(0, spread, (ANCHORS, 2))
    size = rng.uniform(5, 60, (ANCHORS, 2))
    boxes = np.concatenate((centre - size / 2, centre + size / 2), 1).astype(np.float32)
    # No two scores alike: which of them wins is for a runtime to say.
    scores = (rng.permutation(ANCHORS) / ANCHORS).astype(np.float32)
    labels = rng.integers(0, draw(st.sampled_from([1, 2, 5])), ANCHORS).astype(np.int32)
    return boxes, scores, labels


@settings(max_examples=150, deadline=None)
@given(clusters(), clusters(), st.sampled_from([0.3, 0.45, 0.7]))
def test_agrees_with_greedy_suppression(
    first: tuple[np.ndarray, ...], second: tuple[np.ndarray, ...], limit: float
) -> None:
    selection = Selection(max_detections=ANCHORS, nms_iou=limit, candidates=ANCHORS)
    batch = [np.stack(pair) for pair in zip(first, second, strict=True)]
    answers = suppress(selection, *batch)
    for image, (boxes, scores, labels) in enumerate((first, second)):
        kept, doubtful = greedy(boxes, scores, labels, limit)
        if doubtful:
            continue
        count = int((answers[1][image] > 0).sum())
        np.testing.assert_array_equal(answers[1][image][:count], scores[kept])
        np.testing.assert_array_equal(answers[0][image][:count], boxes[kept])
        np.testing.assert_array_equal(answers[2][image][:count], labels[kept])


def chain(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A row of boxes that each overlap the next only: every other one is to be kept."""
    left = np.arange(ANCHORS, dtype=np.float32) * 40
    left[length:] += 10_000 + np.arange(ANCHORS - length) * 200
    boxes = np.stack((left, left * 0, left + 100, left * 0 + 50), 1).astype(np.float32)
    return boxes, np.linspace(0.9, 0.1, ANCHORS, dtype=np.float32), np.zeros(ANCHORS, np.int32)


def test_alternating_chain_is_exact_up_to_the_rounds() -> None:
    """IoU of neighbours is 0.43, of the next but one 0.11: the worst case for the fixed point."""
    boxes, scores, labels = chain(16)
    selection = Selection(max_detections=ANCHORS, nms_iou=0.4, candidates=ANCHORS, rounds=16)
    kept, _ = greedy(boxes, scores, labels, 0.4)
    answer = suppress(selection, boxes[None], scores[None], labels[None])[1][0]
    np.testing.assert_array_equal(answer[answer > 0], scores[kept])


def test_longer_chains_need_more_rounds() -> None:
    """What is documented as a limit is one, and the option moves it."""
    boxes, scores, labels = chain(40)
    kept, _ = greedy(boxes, scores, labels, 0.4)
    answers = []
    for rounds in (16, 40):
        selection = Selection(ANCHORS, 0.4, ANCHORS, rounds)
        answer = suppress(selection, boxes[None], scores[None], labels[None])[1][0]
        answers.append(answer[answer > 0].tolist())
    assert answers[0] != scores[kept].tolist()
    assert answers[1] == scores[kept].tolist()


def test_padding_is_zero() -> None:
    boxes = np.zeros((1, ANCHORS, 4), np.float32)
    boxes[..., 2:] = np.inf  # exp of a wild number
    scores = np.zeros((1, ANCHORS), np.float32)
    scores[0, 7] = 0.5
    labels = np.full((1, ANCHORS), 3, np.int32)
    boxes[0, 7] = [1, 2, 3, 4]
    selection = Selection(max_detections=5, candidates=ANCHORS)
    got_boxes, got_scores, got_labels = suppress(selection, boxes, scores, labels)
    assert got_boxes[0].tolist() == [[1, 2, 3, 4]] + [[0] * 4] * 4
    assert got_scores[0].tolist() == [0.5, 0, 0, 0, 0]
    assert got_labels[0].tolist() == [3, 0, 0, 0, 0]


def test_least_score() -> None:
    scores = np.full((1, ANCHORS), 0.0009, np.float32)
    scores[0, :2] = [0.0011, 0.9]
    boxes = np.arange(ANCHORS * 4, dtype=np.float32).reshape(1, ANCHORS, 4) * 100
    labels = np.zeros((1, ANCHORS), np.int32)
    for limit in (0.45, None):
        answer = suppress(Selection(10, limit, ANCHORS), boxes, scores, labels)[1][0]
        np.testing.assert_allclose(answer, [0.9, 0.0011] + [0] * 8)


def test_without_suppression_all_come_out() -> None:
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (1, ANCHORS, 1))
    scores = np.linspace(0.1, 0.9, ANCHORS, dtype=np.float32)[None]
    labels = np.zeros((1, ANCHORS), np.int32)
    answer = suppress(Selection(ANCHORS, None, 4), boxes, scores, labels)[1]
    np.testing.assert_array_equal(answer[0], scores[0, ::-1])


@pytest.mark.parametrize('wrong', [
    {'candidates': 3841}, {'max_detections': 0}, {'nms_iou': 0.0}, {'nms_iou': 1.5}, {'rounds': 0},
])
def test_refuses(wrong: dict[str, float]) -> None:
    with pytest.raises(ImportModelError, match=f'{next(iter(wrong))}: expected'):
        Selection(**wrong)  # type: ignore[arg-type]
