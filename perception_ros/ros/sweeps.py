"""The topics that a fusion reads: points, boxes, masks, lenses and frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
import math
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from tf2_msgs.msg import TFMessage
from typing_extensions import Buffer
from vision_msgs.msg import Detection2DArray, LabelInfo

from perception_ros.core.drop_log import DropLog
from perception_ros.core.errors import FusionError, PerceptionError
from perception_ros.core.poses import pose
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_ros.fusion.config import FusionConfig
from perception_ros.fusion.pipeline import ImageOutputs
from perception_ros.fusion.threaded import ThreadedSweeps
from perception_ros.fusion.types import Sweep
from perception_ros.ros.cdr import read_header, read_image, read_point_cloud
from perception_ros.ros.intake import Intake
from perception_ros.ros.messages import to_nanoseconds
from perception_ros.ros.qos import make_qos

_RESULTS_DEPTH = 10
_TF_QOS = make_qos('reliable', 100)
_STATIC_TF_QOS = make_qos('reliable', 100, 'transient_local')
_LATCHED_QOS = make_qos('reliable', 1, 'transient_local')
_STAMP_END = 12
"""Bytes of a serialised message up to the end of its header's stamp, which comes first."""
_DETECTIONS = 'vision_msgs/Detection2DArray'


class Results:
    """Turns serialised results of the perception node into values."""

    def __init__(self) -> None:
        self._class_names: dict[tuple[str, str], tuple[str, ...]] = {}

    def name_classes(self, camera: str, output: str, message: LabelInfo) -> None:
        """Take in what the ids of a mask mean."""
        named = {int(item.class_id): str(item.class_name) for item in message.class_map}
        self._class_names[camera, output] = tuple(
            named.get(number, str(number)) for number in range(max(named, default=-1) + 1)
        )

    def decode(self, camera: str, outputs: Mapping[str, Any]) -> ImageOutputs:
        """Return what is said about one image. What cannot be used costs itself alone.

        :param outputs: output -> serialised message.
        """
        said, numbers = ImageOutputs(''), None
        for output, serialised in outputs.items():
            try:
                if output == 'detections':
                    boxes = _boxes(serialised)
                    numbers = boxes.numbers
                    said = replace(
                        said, frame_id=boxes.frame_id, detections=boxes.detections, ids=boxes.ids
                    )
                else:
                    said = self._with_mask(said, camera, output, serialised)
            except PerceptionError as error:
                said = replace(said, problems=(*said.problems, f'{output}: {error}'))
        if said.instances and numbers is not None:
            found = np.where(said.instances.indices < len(numbers), said.instances.indices, 0)
            said = replace(said, instances=InstanceMasks(numbers.take(found)))
        return said

    def _with_mask(
        self, said: ImageOutputs, camera: str, output: str, serialised: Any
    ) -> ImageOutputs:
        """Return what is said, and what a mask adds to it.

        :raises PerceptionError: it is none, or nobody says what its ids mean.
        """
        _, frame_id, image = read_image(serialised)
        image.validate()
        if output == 'instances':
            masks = InstanceMasks(_mask(image, 'mono16', np.uint16))
            return replace(said, frame_id=frame_id, instances=masks)
        names = self._class_names.get((camera, output))
        if names is None:
            raise FusionError(
                'nobody has said what its ids mean: expected a LabelInfo on label_info beside it, '
                'as the perception node publishes'
            )
        mask = SemanticMask(_mask(image, 'mono8', np.uint8), names)
        semantic = {**(said.semantic or {}), output.removeprefix('semantic/'): mask}
        return replace(said, frame_id=frame_id, semantic=semantic)


class SweepSubscriptions:
    """The subscriptions of one fusion; `destroy` ends them."""

    def __init__(
        self, node: Node, config: FusionConfig, sweeps: ThreadedSweeps, results: Results
    ) -> None:
        self._node = node
        self._sweeps = sweeps
        self._results = results
        self._subscriptions: list[Any] = []
        self._infos: dict[str, bytes] = {}
        self._intake = Intake()
        self._drop_log = DropLog()
        try:
            self._subscribe_to_all(config)
            self._intake.start()
        except Exception:
            self.destroy()
            raise

    def destroy(self) -> None:
        """Unsubscribe; nothing is handed on after this."""
        self._intake.stop()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []

    def _subscribe_to_all(self, config: FusionConfig) -> None:
        lidar = config.lidar
        self._take(PointCloud2, lidar.topic, make_qos(lidar.reliability, 5), self._on_cloud)
        for name, camera in config.cameras.items():
            for output, topic in camera.topics(name).items():
                kind = Detection2DArray if output == 'detections' else Image
                receive = partial(self._on_result, name, output, kind)
                # As the perception node publishes: where images have no room in shared memory,
                # most masks would be lost otherwise.
                self._take(kind, topic, make_qos('reliable', _RESULTS_DEPTH), receive)
                if output.startswith('semantic/'):
                    tell = partial(self._results.name_classes, name, output)
                    self._subscribe(LabelInfo, f'{topic}/label_info', _LATCHED_QOS, tell)
            told = partial(self._on_camera_info, name)
            self._take(CameraInfo, camera.info_topic(name), make_qos('best_effort', 1), told)
        for topic, qos, is_static in (
            ('/tf', _TF_QOS, False), ('/tf_static', _STATIC_TF_QOS, True),
        ):
            self._subscribe(TFMessage, topic, qos, partial(self._on_transforms, is_static))

    def _take(
        self, kind: Any, topic: str, qos: Any, on_message: Callable[[memoryview], None]
    ) -> None:
        """Subscribe to large or frequent messages, which are taken as they lie on the wire."""
        subscription = self._node.create_subscription(
            kind, topic, on_message, qos, callback_group=self._intake.group, raw=True
        )
        self._subscriptions.append(subscription)
        self._intake.add(subscription, on_message)

    def _subscribe(
        self, kind: Any, topic: str, qos: Any, on_message: Callable[[Any], None]
    ) -> None:
        self._subscriptions.append(self._node.create_subscription(kind, topic, on_message, qos))

    def _on_cloud(self, serialised: Buffer) -> None:
        received_ns = time.monotonic_ns()
        try:
            stamp, cloud = read_point_cloud(serialised)
            sweep = Sweep(stamp.stamp_ns, received_ns, stamp.frame_id, cloud.returns(), cloud)
            if not stamp.frame_id:
                raise FusionError(
                    'the points name no frame: let the driver fill in header.frame_id'
                )
        except PerceptionError as error:
            self._sweeps.refuse('lidar', error)
        else:
            self._sweeps.receive_sweep(sweep)

    def _on_result(self, camera: str, output: str, kind: Any, serialised: Buffer) -> None:
        try:
            name = _DETECTIONS if kind is Detection2DArray else 'sensor_msgs/Image'
            stamp_ns = read_header(serialised, name).stamp_ns
        except PerceptionError as error:
            self._sweeps.refuse(camera, error)
        else:
            self._sweeps.receive(camera, output, stamp_ns, serialised)

    def _on_camera_info(self, camera: str, serialised: Buffer) -> None:
        """Look at a CameraInfo only when more of it is new than its stamp: most never change."""
        content = bytes(memoryview(serialised)[_STAMP_END:])
        if content == self._infos.get(camera):
            return
        try:
            message = _message(serialised, CameraInfo)
        except PerceptionError as error:
            self._sweeps.refuse(camera, error)
            return
        self._infos[camera] = content
        with self._sweeps.known() as pipeline:
            pipeline.camera_info(camera, message)

    def _on_transforms(self, is_static: bool, message: TFMessage) -> None:
        for item in message.transforms:
            place, turn = item.transform.translation, item.transform.rotation
            matrix = pose((place.x, place.y, place.z), (turn.x, turn.y, turn.z, turn.w))
            try:
                with self._sweeps.known() as pipeline:
                    pipeline.transform(
                        item.header.frame_id, item.child_frame_id,
                        to_nanoseconds(item.header.stamp), matrix, is_static=is_static,
                    )
            except PerceptionError as error:
                self._sweeps.counters.tell('tf', str(error))
                if self._drop_log.may_log('tf', str(error)):
                    self._node.get_logger().warning(f'tf: {error}')


def _message(serialised: Buffer, kind: Any) -> Any:
    """Return a message as rclpy has it.

    :raises FusionError: it is none of this kind.
    """
    try:
        return deserialize_message(bytes(serialised), kind)
    except Exception as error:  # the middleware's own, which has no name to catch it by
        raise FusionError(
            f'expected a {kind.__name__}, got {len(memoryview(serialised))} bytes that are none: '
            f'{error}; it was cut off on its way, or is of another type'
        ) from error


class _Boxes(NamedTuple):
    """What a Detection2DArray says.

    numbers: what the values of an instance mask, which count the message's boxes from 1, are among
    these; uint16 [boxes of the message + 1]; None: the same, for all are here.
    """

    frame_id: str
    detections: Detections
    ids: tuple[str, ...]
    numbers: NDArray[np.uint16] | None


def _boxes(serialised: Buffer) -> _Boxes:
    """Return the boxes of a message, of the best class each.

    Those that are no numbers, and those without a score that is one, are left out.

    :raises FusionError: it is no such message.
    """
    message = _message(serialised, Detection2DArray)
    boxes, scores, names, ids, places = [], [], [], [], []
    for place, item in enumerate(message.detections):
        best = max(item.results, key=lambda result: result.hypothesis.score, default=None)
        if best is None:
            continue
        x, y = item.bbox.center.position.x, item.bbox.center.position.y
        half_x, half_y = item.bbox.size_x / 2, item.bbox.size_y / 2
        if not all(map(math.isfinite, (x, y, half_x, half_y, best.hypothesis.score))):
            continue
        boxes.append((x - half_x, y - half_y, x + half_x, y + half_y))
        scores.append(best.hypothesis.score)
        names.append(str(best.hypothesis.class_id))
        ids.append(str(item.id))
        places.append(place)
    classes = tuple(sorted(set(names)))
    found = Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array([classes.index(name) for name in names], np.int32), classes,
    )
    numbers = None
    if len(places) < len(message.detections):
        numbers = np.zeros(len(message.detections) + 1, np.uint16)
        numbers[np.array(places, np.intp) + 1] = np.arange(1, len(places) + 1)
    return _Boxes(str(message.header.frame_id), found, tuple(ids), numbers)


def _mask(image: Any, encoding: str, kind: Any) -> Any:
    """Return the ids of a mask, [H, W], as a view of the message where rows are packed."""
    if image.encoding != encoding:
        raise FusionError(
            f'a mask has the encoding {image.encoding!r}: expected {encoding}, as the perception '
            'node publishes; name another topic'
        )
    order = '>' if image.is_bigendian else '<'
    stored = np.dtype(kind).newbyteorder(order)
    rows = np.frombuffer(image.data, np.uint8)[: image.height * image.step]
    packed = rows.reshape(image.height, image.step)[:, : image.width * stored.itemsize]
    return np.ascontiguousarray(packed).view(stored).astype(kind, copy=False)
