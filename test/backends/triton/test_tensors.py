"""Answers are read only if they are what the bundle's graph would give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2 as messages

from perception_ros.backends.triton.tensors import MessageTensors
from perception_ros.bundles.contract import TensorSpec
from perception_ros.core.errors import BackendError

SPECS = {
    'scores': TensorSpec('float32', (None, 3)),
    'labels': TensorSpec('int32', (None, 3)),
}
SCORES = {'name': 'scores', 'datatype': 'FP32', 'shape': [2, 3]}
LABELS = {'name': 'labels', 'datatype': 'INT32', 'shape': [2, 3]}


def tensors() -> MessageTensors:
    return MessageTensors(np.zeros((4, 2, 2, 3), np.uint8), SPECS)


def answer(*outputs: dict[str, Any], raw: int = 24) -> Any:
    """Return an answer with outputs of so many bytes each, which hold their place."""
    response = messages.ModelInferResponse()
    for place, output in enumerate(outputs):
        response.outputs.add(**output)
        response.raw_output_contents.append(bytes([place, 0, 0, 0]) * (raw // 4))
    return response


def test_outputs_are_told_apart_by_name_in_any_order() -> None:
    read = tensors().read(answer(SCORES, LABELS), 2)
    np.testing.assert_array_equal(read['labels'], np.ones((2, 3), np.int32))
    read = tensors().read(answer(LABELS, SCORES), 2)
    np.testing.assert_array_equal(read['labels'], np.zeros((2, 3), np.int32))
    assert read['scores'].dtype == np.float32


@pytest.mark.parametrize(
    ('response', 'says'),
    [
        (answer(SCORES), r'output labels: expected INT32 \[2, 3\] from the server, got none'),
        (answer(SCORES, {**LABELS, 'shape': [2, 4]}), r'labels: expected .* got INT32 \[2, 4\]'),
        (answer(SCORES, {**LABELS, 'shape': [1, 3]}), r'labels: expected .* got INT32 \[1, 3\]'),
        (answer({**SCORES, 'datatype': 'FP16'}, LABELS), r'scores: expected FP32 .* got FP16'),
        (answer(SCORES, LABELS, raw=20), 'scores: the server sent the wrong bytes'),
        (messages.ModelInferResponse(), 'got none'),
    ],
    ids=['missing', 'shape', 'batch', 'type', 'bytes', 'nothing'],
)
def test_another_answer_is_a_clear_error(response: Any, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        tensors().read(response, 2)


def test_a_request_holds_the_images_of_its_batch_alone() -> None:
    request = messages.ModelInferRequest()
    images = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    MessageTensors(images, SPECS).fill(request, 3)
    assert list(request.inputs[0].shape) == [3, 2, 2, 3]
    assert request.raw_input_contents[0] == bytes(range(36))
    assert [output.name for output in request.outputs] == ['scores', 'labels']
