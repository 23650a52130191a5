"""Frames, images and bundles for tests, each in one line."""

from __future__ import annotations

from pathlib import Path
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.bundle import Bundle, write_bundle
from perception_ros.bundles.manifest import GraphInfo, Manifest
from perception_ros.core.image import Image
from perception_ros.core.types import Frame, FrameSet

MS = 1_000_000
"""Nanoseconds in a millisecond."""

COLOURS = {'red': (255, 0, 0), 'green': (0, 255, 0), 'blue': (0, 0, 255)}
"""What the fake engine sees as class 0, 1 and 2."""


def picture(
    width: int = 64, height: int = 48, **boxes: tuple[int, int, int, int]
) -> NDArray[np.uint8]:
    """Return grey RGB pixels [H, W, 3] with a rectangle (x1, y1, x2, y2) for each colour named."""
    pixels = np.full((height, width, 3), 114, np.uint8)
    for colour, (x1, y1, x2, y2) in boxes.items():
        pixels[y1:y2, x1:x2] = COLOURS[colour]
    return pixels


def huge_bmp(folder: Path) -> Path:
    """Return a BMP file that says it is wider than OpenCV reads."""
    path = folder / 'huge.bmp'
    header = struct.pack('<IHHIIiiHHIIiiII', 154, 0, 0, 54, 40, 1 << 21, 8, 1, 24, *[0] * 6)
    path.write_bytes(b'BM' + header + bytes(100))
    return path


def frame(
    camera: str = 'front',
    stamp_ms: float = 1000.0,
    received_ms: float | None = None,
    pixels: NDArray[np.uint8] | None = None,
) -> Frame:
    """Return a frame; it is received at its stamp unless said otherwise."""
    return Frame(
        camera=camera,
        stamp_ns=round(stamp_ms * MS),
        received_ns=round((stamp_ms if received_ms is None else received_ms) * MS),
        image=Image.from_array(picture() if pixels is None else pixels),
        frame_id=f'{camera}_optical',
    )


def frame_set(*frames: Frame, matched_ms: float = 1000.0) -> FrameSet:
    """Return a set of these frames."""
    return FrameSet(frames, (), round(matched_ms * MS))


def manifest(**changes: Any) -> Manifest:
    """Return a manifest with three classes and one semantic head; `changes` replace its keys."""
    classes = [{'name': name, 'color': rgb} for name, rgb in COLOURS.items()]
    values: dict[str, Any] = {
        'schema_version': 1,
        'name': 'colours',
        'description': 'Sees red, green and blue rectangles',
        'input': {'width': 96, 'height': 64},
        'detection': {'classes': classes, 'max_detections': 8, 'score_threshold': 0.3},
        'semantic': {
            'ground': {'stride': 1, 'classes': [*classes, {'name': 'other', 'color': (9, 9, 9)}]}
        },
        'graph': {'file': 'model.onnx', 'sha256': '0' * 64},
        'provenance': {'source': 'test', 'data': 'none'},
        'licence': {'weights': 'Apache-2.0', 'data': 'none'},
    }
    return Manifest.model_validate(values | changes)


def fake_bundle(**changes: Any) -> Bundle:
    """Return a bundle for the fake engine, which needs no graph."""
    return Bundle(Path('colours'), manifest(**changes))


def write_real_bundle(path: Path, name: str = 'means', **changes: Any) -> Bundle:
    """Write a bundle with a real graph whose answers depend on each image alone.

    scores: mean of each channel / 255 (three boxes, the rest padding); semantic: the strongest
    channel of each pixel; masks, where `changes` of the manifest ask for them: full.
    """
    import onnx
    from onnx import helper, numpy_helper, TensorProto

    def constant(label: str, values: Any, dtype: Any) -> Any:
        return numpy_helper.from_array(np.asarray(values, dtype), label)

    boxes = [[4 * n, 4 * n, 4 * n + 20, 4 * n + 10] if n < 3 else [0] * 4 for n in range(8)]
    nodes = [
        helper.make_node('Cast', ['images'], ['pixels'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMean', ['pixels', 'spatial'], ['means'], keepdims=0),
        helper.make_node('Div', ['means', 'white'], ['seen']),
        helper.make_node('Pad', ['seen', 'padding', '', 'last'], ['scores']),
        helper.make_node('Shape', ['images'], ['batch'], start=0, end=1),
        helper.make_node('Concat', ['batch', 'boxes_shape'], ['to_boxes'], axis=0),
        helper.make_node('Expand', ['one_boxes', 'to_boxes'], ['boxes']),
        helper.make_node('Concat', ['batch', 'labels_shape'], ['to_labels'], axis=0),
        helper.make_node('Expand', ['one_labels', 'to_labels'], ['labels']),
        helper.make_node('ArgMax', ['pixels'], ['strongest'], axis=3, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['semantic_ground'], to=TensorProto.UINT8),
    ]
    constants = [
        constant('spatial', [1, 2], np.int64),
        constant('white', 255.0, np.float32),
        constant('padding', [0, 5], np.int64),
        constant('last', [1], np.int64),
        constant('boxes_shape', [8, 4], np.int64),
        constant('labels_shape', [8], np.int64),
        constant('one_boxes', [boxes], np.float32),
        constant('one_labels', [[0, 1, 2, 0, 0, 0, 0, 0]], np.int32),
    ]
    outputs = [
        helper.make_tensor_value_info('boxes', TensorProto.FLOAT, ['B', 8, 4]),
        helper.make_tensor_value_info('scores', TensorProto.FLOAT, ['B', 8]),
        helper.make_tensor_value_info('labels', TensorProto.INT32, ['B', 8]),
        helper.make_tensor_value_info('semantic_ground', TensorProto.UINT8, ['B', 64, 96]),
    ]
    detection = manifest(**changes).detection
    if detection and detection.masks:
        size = [8, detection.masks.height, detection.masks.width]
        nodes += [
            helper.make_node('Concat', ['batch', 'masks_shape'], ['to_masks'], axis=0),
            helper.make_node('Expand', ['full', 'to_masks'], ['masks']),
        ]
        constants += [
            constant('masks_shape', size, np.int64),
            constant('full', np.ones((1, 1, 1, 1)), np.float32),
        ]
        outputs.append(helper.make_tensor_value_info('masks', TensorProto.FLOAT, ['B', *size]))
    images = helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', 64, 96, 3])
    graph = helper.make_graph(nodes, name, [images], outputs, constants)
    opset = helper.make_opsetid('', 20)
    payload = helper.make_model(graph, opset_imports=[opset], ir_version=9).SerializeToString()
    onnx.checker.check_model(onnx.load_model_from_string(payload))
    info = manifest(name=name, graph=GraphInfo.of(payload).model_dump(), **changes)
    return write_bundle(path, info, payload, 'A graph for tests.')
