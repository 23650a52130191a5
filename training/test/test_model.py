"""Geometry of the network, and the start from foreign weights."""

from pathlib import Path

import numpy as np
import onnxruntime
import torch

from perception_training.model import anchors, COCO_ROWS, load_yolox_nano, RoadScene


def test_anchors_count_from_the_middle_of_cells() -> None:
    """Half a cell of shift costs small boxes most."""
    centres, strides = anchors(64, 96)
    assert len(centres) == 8 * 12 + 4 * 6 + 2 * 3
    assert centres[0].tolist() == [4, 4]
    assert centres[1].tolist() == [12, 4]
    assert centres[96].tolist() == [8, 8]
    assert strides[[0, 96, 120], 0].tolist() == [8, 16, 32]


def test_shapes_follow_the_input() -> None:
    """Training uses crops: nothing may be tied to one size."""
    with torch.no_grad():
        boxes, objectness, classes, scene = RoadScene().eval()(torch.zeros(2, 3, 64, 96))
    assert boxes.shape == (2, 126, 4)
    assert objectness.shape == (2, 126)
    assert classes.shape == (2, 126, 5)
    assert scene.shape == (2, 11, 16, 24)


def test_foreign_weights_give_the_foreign_answers(shared: Path) -> None:
    """A start that is only nearly right would look like a bad learning rate."""
    path = shared / 'models/yolox_nano.onnx'
    model = RoadScene().eval()
    load_yolox_nano(model, path)
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 416, 416)).astype(np.float32)
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    wanted = session.run(None, {session.get_inputs()[0].name: image})[0][0]
    with torch.no_grad():
        boxes, objectness, classes, _ = model(torch.from_numpy(image[:, ::-1].copy()) / 255)
    np.testing.assert_allclose(objectness[0].sigmoid(), wanted[:, 4], atol=1e-4)
    np.testing.assert_allclose(classes[0].sigmoid(), wanted[:, 5:][:, COCO_ROWS], atol=1e-4)
    centres, strides = (a.numpy() for a in anchors(416, 416))
    middle = wanted[:, :2] * strides + centres - strides / 2
    half = np.exp(wanted[:, 2:4]) * strides / 2
    np.testing.assert_allclose(boxes[0], np.hstack((middle - half, middle + half)), atol=0.02)
