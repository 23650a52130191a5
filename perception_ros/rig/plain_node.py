"""The usual Python detector node, as people write it: what ours is measured against.

One camera, one process, one thread. Typed messages; NumPy looks into the message's array, as
cv_bridge does in Python; OpenCV letterboxes; the engine gets one image a call, and the callback
waits for it; the boxes become a message object by object. Nothing is slower here than it has to
be in such a node: the image is shrunk before its colours are exchanged, the array of the message
is not copied, and the engine is the same as ours.
"""

from __future__ import annotations

import json
from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2D, Detection2DArray, ObjectHypothesisWithPose

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.benchmarks.live.settings import Encoding, Reliability
from perception_ros.bundles import Bundle
from perception_ros.ros.qos import make_qos

_GREY = (114, 114, 114)


class PlainSettings(BaseModel):
    """What the node does."""

    topic: str
    encoding: Encoding
    reliability: Reliability
    bundle: str
    backend: str
    fake_ms: float
    output: str
    """Topic of the detections; empty: it stops once the image is in the engine's input."""
    report: str
    """File to write how many images came, as it ends."""


class PlainNode(Node):
    """Detects in the images of one camera."""

    def __init__(self, settings: PlainSettings) -> None:
        super().__init__('plain_detector')
        self.received = 0
        self._settings = settings
        self._bundle = Bundle.load(settings.bundle)
        options = EngineOptions(max_batch=1, fake_duration_ms=settings.fake_ms)
        self._engine = open_engine(self._bundle, settings.backend, options)
        self._engine.warm_up()
        self._publisher: Any = None
        if settings.output:
            results = QoSProfile(depth=10)
            self._publisher = self.create_publisher(Detection2DArray, settings.output, results)
        kind = CompressedImage if settings.encoding == 'jpeg' else Image
        qos = make_qos(settings.reliability, 5)
        self.create_subscription(kind, settings.topic, self._on_image, qos)

    def _on_image(self, message: Any) -> None:
        self.received += 1
        bgr = self._to_numpy(message)
        request = self._engine.request()
        ratio = self._letterbox(bgr, request.images[0])
        if self._publisher is not None:
            request.start(1)
            outputs = request.result()
            self._publisher.publish(self._to_message(message.header, outputs, ratio, bgr.shape))
        request.release()

    def _to_numpy(self, message: Any) -> NDArray[np.uint8]:
        data = np.frombuffer(message.data, np.uint8)
        if self._settings.encoding == 'jpeg':
            return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
        return data.reshape(message.height, message.step // 3, 3)[:, : message.width]

    def _letterbox(self, bgr: NDArray[np.uint8], out: NDArray[np.uint8]) -> float:
        height, width = bgr.shape[:2]
        ratio: float = min(out.shape[1] / width, out.shape[0] / height)
        size = (round(width * ratio), round(height * ratio))
        small = cv2.resize(bgr, size, interpolation=cv2.INTER_LINEAR)
        left, top = (out.shape[1] - size[0]) // 2, (out.shape[0] - size[1]) // 2
        right, bottom = out.shape[1] - size[0] - left, out.shape[0] - size[1] - top
        boxed = cv2.copyMakeBorder(
            small, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_GREY
        )
        out[...] = cv2.cvtColor(boxed, cv2.COLOR_BGR2RGB)
        return ratio

    def _to_message(
        self, header: Any, outputs: Any, ratio: float, shape: tuple[int, ...]
    ) -> Detection2DArray:
        info = self._bundle.manifest.detection
        assert info is not None, 'it was asked for detections'
        array = Detection2DArray(header=header)
        width, height = self._engine.info.input_size
        left, top = (width - shape[1] * ratio) / 2, (height - shape[0] * ratio) / 2
        found = outputs['scores'][0] >= info.score_threshold
        for box, score, label in zip(
            outputs['boxes'][0][found], outputs['scores'][0][found],
            outputs['labels'][0][found], strict=True,
        ):
            x1, y1, x2, y2 = (float(side) for side in box)
            detection = Detection2D(header=header)
            detection.bbox.center.position.x = ((x1 + x2) / 2 - left) / ratio
            detection.bbox.center.position.y = ((y1 + y2) / 2 - top) / ratio
            detection.bbox.size_x, detection.bbox.size_y = (x2 - x1) / ratio, (y2 - y1) / ratio
            hypothesis = ObjectHypothesisWithPose()
            hypothesis.hypothesis.class_id = info.classes[int(label)].name
            hypothesis.hypothesis.score = float(score)
            detection.results.append(hypothesis)
            array.detections.append(detection)
        return array

    def finish(self) -> None:
        """Say how many images came, and free the engine."""
        Path(self._settings.report).write_text(json.dumps({'received': self.received}))
        self._engine.close()


def main() -> None:
    """Run the node until it is told to end; the last argument says what it does, as JSON."""
    rclpy.init()
    node = PlainNode(PlainSettings.model_validate_json(sys.argv[-1]))
    try:
        rclpy.spin(node)
    except (ExternalShutdownException, KeyboardInterrupt):
        pass
    finally:
        node.finish()
        node.destroy_node()
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
