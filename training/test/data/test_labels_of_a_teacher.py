"""What a teacher has labelled is read like any other set."""

from pathlib import Path

import cv2
import numpy as np
import onnx.parser
import pytest

from perception_ros.bundles.bundle import write_bundle
from perception_ros.bundles.manifest import GraphInfo, Manifest
from perception_ros.cli.main import main
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import CocoConfig
from perception_training.data.readers import open_source

CLASSES = ('red', 'green', 'blue')
GRAPH = """
<ir_version: 9, opset_import: ["": 20]>
teacher (uint8[B, 64, 96, 3] images) => (
    float[B, 8, 4] boxes, float[B, 8] scores, int32[B, 8] labels, float[B, 8, 4, 4] masks) {
  batch = Shape <start = 0, end = 1> (images)
  n = Constant <value = int64[1] {8}> ()
  side = Constant <value = int64[1] {4}> ()
  rows = Concat <axis = 0> (batch, n)
  sides = Concat <axis = 0> (rows, side)
  cells = Concat <axis = 0> (sides, side)
  boxes = ConstantOfShape (sides)
  scores = ConstantOfShape (rows)
  labels = ConstantOfShape <value = int32[1] {0}> (rows)
  masks = ConstantOfShape (cells)
}
"""


def teacher(folder: Path) -> Path:
    """Write a bundle for the fake engine, which sees coloured rectangles and runs no graph."""
    graph = onnx.parser.parse_model(GRAPH).SerializeToString()
    classes = [{'name': name, 'color': (0, 0, 0)} for name in CLASSES]
    write_bundle(folder, Manifest.model_validate({
        'schema_version': 1, 'name': 'teacher', 'description': 'Sees coloured rectangles',
        'input': {'width': 96, 'height': 64},
        'detection': {'classes': classes, 'max_detections': 8, 'score_threshold': 0.3,
                      'masks': {'width': 4, 'height': 4}},
        'graph': GraphInfo.of(graph).model_dump(),
        'provenance': {'source': 'test', 'data': 'none'},
        'licence': {'weights': 'Apache-2.0', 'data': 'none'},
    }), graph, 'For tests.')
    return folder


def test_boxes_and_outlines_of_a_teacher_are_read(tmp_path: Path) -> None:
    box = (8, 8, 48, 40)
    bgr = np.full((64, 96, 3), 114, np.uint8)
    bgr[box[1]:box[3], box[0]:box[2]] = (0, 255, 0)
    (tmp_path / 'images' / 'front').mkdir(parents=True)
    cv2.imwrite(str(tmp_path / 'images' / 'front' / '1.png'), bgr)
    with pytest.raises(SystemExit) as ended:
        main(['label', str(tmp_path / 'images'), '--bundle', str(teacher(tmp_path / 'teacher')),
              '--output', str(tmp_path / 'labels.json'), '--backend', 'fake'])
    assert not ended.value.code
    config = CocoConfig(
        reader='coco', annotations='labels.json', folder='images', outlines=True)
    source = open_source(config, LabelsConfig(boxes=CLASSES, semantic={}), tmp_path)
    assert source.names == ('front/1',)
    sample = source[0]
    assert sample.boxes.tolist() == [list(box)]
    assert sample.labels.tolist() == [CLASSES.index('green')]
    expected = np.zeros((64, 96), np.uint8)
    expected[box[1]:box[3], box[0]:box[2]] = 1
    np.testing.assert_array_equal(sample.masks[0], expected)
