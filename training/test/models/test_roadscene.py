"""Geometry of the network, and the start from foreign weights."""

from pathlib import Path

from builders import CLASSES, SCENE
import numpy as np
import onnxruntime
import pytest
import torch

from perception_ros.bundles.labels import COCO
from perception_training.config.labels import LabelsConfig
from perception_training.config.model import RoadSceneConfig
from perception_training.errors import CheckpointError
from perception_training.models import build
from perception_training.models.anchors import anchors

LABELS = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE})
STARTED = RoadSceneConfig(name='roadscene', start=Path('models/yolox_nano.onnx'))


def test_anchors_count_from_the_middle_of_cells() -> None:
    """Half a cell of shift costs small boxes most."""
    centres, strides = anchors(64, 96, (8, 16, 32))
    assert len(centres) == 8 * 12 + 4 * 6 + 2 * 3
    assert centres[0].tolist() == [4, 4]
    assert centres[1].tolist() == [12, 4]
    assert centres[96].tolist() == [8, 8]
    assert strides[[0, 96, 120], 0].tolist() == [8, 16, 32]


def test_foreign_weights_give_the_foreign_answers(shared: Path) -> None:
    """A start that is only nearly right would look like a bad learning rate."""
    network = build(STARTED, LABELS, shared).eval()
    assert network.pretrained == ('trunk.', 'heads.boxes.')
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 416, 416)).astype(np.float32)
    session = onnxruntime.InferenceSession(
        str(shared / 'models/yolox_nano.onnx'), providers=['CPUExecutionProvider'])
    wanted = session.run(None, {session.get_inputs()[0].name: image})[0][0]
    with torch.no_grad():
        raw = network(torch.from_numpy(image[:, ::-1].copy()) / 255)['boxes']
    rows = [COCO.index(name) for name in CLASSES]
    np.testing.assert_allclose(raw['objectness'][0].sigmoid(), wanted[:, 4], atol=1e-4)
    np.testing.assert_allclose(raw['classes'][0].sigmoid(), wanted[:, 5:][:, rows], atol=1e-4)
    centres, strides = (a.numpy() for a in anchors(416, 416, (8, 16, 32)))
    middle = wanted[:, :2] * strides + centres - strides / 2
    half = np.exp(wanted[:, 2:4]) * strides / 2
    np.testing.assert_allclose(raw['boxes'][0], np.hstack((middle - half, middle + half)),
                               atol=0.02)


def test_a_start_that_does_not_fit_is_refused(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'knows the classes of COCO, not \[.rickshaw.\]'):
        build(STARTED, LabelsConfig(boxes=('rickshaw',)), shared)
    with pytest.raises(CheckpointError, match='model.start=null'):
        build(STARTED, LABELS, tmp_path)
