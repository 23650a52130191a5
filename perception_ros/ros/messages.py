"""Turn results of the core into ROS messages, and the pixels of ROS messages into core images.

Pixel coordinates are those of the core: (0, 0) is the outer corner of the source image's top-left
pixel, so a box over a whole 640x480 image has its centre at (320, 240) and the size 640 x 480.
OpenCV and CameraInfo put (0, 0) into the middle of that pixel: their values are these minus 0.5.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

from builtin_interfaces.msg import Time
import cv2
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo
from sensor_msgs.msg import CompressedImage as CompressedImageMessage
from sensor_msgs.msg import Image as ImageMessage
from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask

_NS_PER_S = 1_000_000_000


def to_stamp(stamp_ns: int) -> Time:
    """Return nanoseconds since the epoch as a message."""
    seconds, nanoseconds = divmod(stamp_ns, _NS_PER_S)
    return Time(sec=seconds, nanosec=nanoseconds)


def to_nanoseconds(stamp: Time) -> int:
    """Return a message's time in nanoseconds since the epoch."""
    return int(stamp.sec) * _NS_PER_S + int(stamp.nanosec)


def to_header(stamp_ns: int, frame_id: str) -> Header:
    """Return the header that a source image had."""
    return Header(stamp=to_stamp(stamp_ns), frame_id=frame_id)


def to_detections(header: Header, detections: Detections) -> Detection2DArray:
    """Return boxes in the source's pixels; `class_id` is the name of the class."""
    message = Detection2DArray(header=header)
    rows = zip(
        detections.boxes.tolist(),
        detections.scores.tolist(),
        detections.labels.tolist(),
        strict=True,
    )
    for (x1, y1, x2, y2), score, label in rows:
        hypothesis = ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id = detections.class_names[label]
        hypothesis.hypothesis.score = score
        box = BoundingBox2D(size_x=x2 - x1, size_y=y2 - y1)
        box.center.position.x = (x1 + x2) / 2
        box.center.position.y = (y1 + y2) / 2
        message.detections.append(Detection2D(header=header, results=[hypothesis], bbox=box))
    return message


def to_semantic_image(header: Header, mask: SemanticMask) -> ImageMessage:
    """Return class ids as mono8 of the source's size; 255 = unlabelled."""
    return _grey_image(header, 'mono8', mask.class_ids)


def to_instance_image(header: Header, masks: InstanceMasks) -> ImageMessage:
    """Return mono16, little endian: index in the detections of the same stamp + 1; 0 = none."""
    return _grey_image(header, 'mono16', masks.indices.astype('<u2', copy=False))


def to_label_info(header: Header, class_names: Sequence[str], threshold: float = 0.0) -> LabelInfo:
    """Return the names behind the class ids of a semantic image, in order."""
    classes = [VisionClass(class_id=i, class_name=name) for i, name in enumerate(class_names)]
    return LabelInfo(header=header, class_map=classes, threshold=threshold)


def to_jpeg(header: Header, rgb: NDArray[np.uint8], quality: int) -> CompressedImageMessage:
    """Encode uint8 [H, W, 3] RGB as JPEG of a quality of 1 to 100.

    :raises ImageError: the encoder refused the array.
    """
    return bgr_to_jpeg(header, np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), np.uint8), quality)


def bgr_to_jpeg(header: Header, bgr: NDArray[np.uint8], quality: int) -> CompressedImageMessage:
    """As `to_jpeg`, for uint8 [H, W, 3] BGR."""
    encoded, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not encoded:
        raise ImageError(
            f'OpenCV cannot encode {bgr.dtype} {list(bgr.shape)} as JPEG; expected uint8 [H, W, 3]'
        )
    return CompressedImageMessage(
        header=header, format='bgr8; jpeg compressed bgr8', data=_octets(jpeg)
    )


def to_diagnostics(
    stamp_ns: int,
    values: Mapping[str, Mapping[str, object]],
    *,
    levels: Mapping[str, bytes] | None = None,
    messages: Mapping[str, str] | None = None,
    hardware_id: str = '',
) -> DiagnosticArray:
    """Return one status for each key of `values`, whose own mapping becomes its key-value pairs.

    :param levels: DiagnosticStatus level by status name; OK where absent.
    :param messages: one line of text by status name.
    """
    levels, messages = levels or {}, messages or {}
    status = [
        DiagnosticStatus(
            level=levels.get(name, DiagnosticStatus.OK),
            name=name,
            message=messages.get(name, ''),
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in pairs.items()],
        )
        for name, pairs in values.items()
    ]
    return DiagnosticArray(header=to_header(stamp_ns, ''), status=status)


def to_image_message(header: Header, image: Image) -> ImageMessage:
    """Return a raw image as sensor_msgs/Image; its bytes are copied once."""
    return ImageMessage(
        header=header,
        encoding=image.encoding,
        width=image.width,
        height=image.height,
        step=image.step,
        is_bigendian=int(image.is_bigendian),
        data=_octets(image.data),
    )


def to_camera_info(width: int, height: int, matrix: Sequence[float]) -> CameraInfo:
    """Return the CameraInfo of an undistorted camera with an empty header.

    :param matrix: K row by row, nine numbers, in OpenCV's pixel coordinates.
    """
    fx, skew, cx, _, fy, cy, *_ = matrix
    return CameraInfo(
        width=width,
        height=height,
        distortion_model='plumb_bob',
        d=[0.0] * 5,
        k=[float(value) for value in matrix],
        r=[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        p=[fx, skew, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    )


def from_image_message(message: ImageMessage) -> Image:
    """Describe a message that rclpy has unpacked already; its data is borrowed, not copied."""
    return Image(
        message.data,
        message.encoding,
        message.width,
        message.height,
        message.step,
        bool(message.is_bigendian),
    )


def from_compressed_message(message: CompressedImageMessage) -> Image:
    """As `from_image_message`, for a JPEG or PNG file."""
    return Image.compressed(message.data, message.format)


def _grey_image(
    header: Header, encoding: str, values: NDArray[np.uint8] | NDArray[np.uint16]
) -> ImageMessage:
    height, width = values.shape
    return ImageMessage(
        header=header,
        encoding=encoding,
        width=width,
        height=height,
        step=width * values.itemsize,
        data=_octets(np.ascontiguousarray(values)),
    )


def _octets(buffer: object) -> array[int]:
    # rclpy looks at every element of anything else, one Python integer at a time
    octets = array('B')
    octets.frombytes(memoryview(buffer).cast('B'))  # type: ignore[arg-type]
    return octets
