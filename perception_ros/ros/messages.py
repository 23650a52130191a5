"""Turn values of the core into ROS messages, and the pixels of ROS messages into core images.

What goes out for every frame is made without message objects: see `serialise.py`.
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
from vision_msgs.msg import LabelInfo, VisionClass

from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image

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
        header=header, format='bgr8; jpeg compressed bgr8', data=octets(jpeg)
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
        data=octets(image.data),
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


def octets(buffer: object) -> array[int]:
    """Return bytes as rclpy takes them for a uint8[] without looking at each."""
    octets = array('B')
    octets.frombytes(memoryview(buffer).cast('B'))  # type: ignore[arg-type]
    return octets
