"""One camera image as it came: bytes and their description, turned into RGB as late as possible.

Cameras deliver far more pixels than a network takes, so `Image.pixels` hands out an array that may
be resized first and the colour conversion that is still to be done on the small result. The buffer
is never copied before that: an `Image` looks into the memory of the message that brought it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

from perception_ros.core.compressed import check_complete, read_header, sniff
from perception_ros.core.encodings import (
    Bayer,
    BAYER_CODES,
    Layout,
    LAYOUTS,
    Packed,
    Yuv420,
    Yuv422,
)
from perception_ros.core.errors import ImageError

Pixels = NDArray[np.uint8]

COMPRESSED_ENCODINGS = ('jpeg', 'png')
RAW_ENCODINGS = tuple(LAYOUTS)

MAX_PIXELS = 1 << 27
"""No image of more pixels is decoded: a damaged header must not claim all memory."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image as a camera driver describes it; building one neither copies nor checks.

    data: any contiguous buffer of bytes (bytes, memoryview, array, uint8 array). It is borrowed:
    it must live as long as the image and the arrays that came from it, and must not change.
    encoding: a name of sensor_msgs/image_encodings, 'nv12', or 'jpeg' / 'png' for a whole file.
    width, height: pixels; for a file what its header says, 0 where that cannot be read.
    step: bytes from one row to the next, padding included; 0 for a file.
    is_bigendian: order of the two bytes of a 16-bit sample.
    mosaic: Bayer pattern of the one grey channel in a file, such as 'bayer_rggb'; '' for none.
    """

    data: Buffer
    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: bool = False
    mosaic: str = ''

    @classmethod
    def compressed(cls, data: Buffer, image_format: str = '') -> Image:
        """Describe a JPEG or PNG file as CompressedImage carries it; nothing is decoded yet.

        :param data: the whole file.
        :param image_format: CompressedImage.format, such as 'jpeg', 'png',
            'bgr8; jpeg compressed bgr8' or 'bayer_rggb8; png compressed'. Drivers get the kind of
            file wrong, so the bytes decide that; the part before ';' tells a mosaic from grey.
        """
        encoding = sniff(data)
        header = read_header(data, encoding)
        original = image_format.partition(';')[0].strip().lower()
        mosaic = next((name for name in BAYER_CODES if original.startswith(name)), '')
        if not encoding:
            encoding = image_format.strip() or 'unknown'
        return cls(data, encoding, header.width, header.height, 0, mosaic=mosaic)

    @classmethod
    def from_array(cls, rgb: Pixels) -> Image:
        """Wrap uint8 [H, W, 3] RGB pixels; copied only where the array is not contiguous.

        :raises ImageError: another shape or type.
        """
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise ImageError(
                f'an image needs uint8 [H, W, 3] RGB; got {rgb.dtype} {list(rgb.shape)}. '
                'Convert the array first'
            )
        height, width, _ = rgb.shape
        return cls(np.ascontiguousarray(rgb).reshape(-1).data, 'rgb8', width, height, 3 * width)

    @property
    def is_compressed(self) -> bool:
        """Whether `data` is a JPEG or PNG file."""
        return self.encoding in COMPRESSED_ENCODINGS

    @property
    def layout(self) -> Layout:
        """How the pixels of a raw image lie in `data`.

        :raises ImageError: the encoding is a file's, or unknown.
        """
        layout = LAYOUTS.get(self.encoding.lower())
        if layout is None:
            raise ImageError(
                f'unknown encoding {_short(self.encoding)}; expected one of '
                f'{", ".join(RAW_ENCODINGS)} or a JPEG or PNG file. Set the camera driver\'s '
                'pixel format to one of these'
            )
        return layout

    def validate(self) -> None:
        """Check the description against the buffer, in constant time; nothing is decoded.

        :raises ImageError: with what was expected, what came, and how to mend it.
        """
        if self.is_compressed:
            _check_file_header(self)
        else:
            _check_raw(self, self.layout)

    def pixels(self) -> tuple[Pixels, int | None]:
        """Return an array that may be resized, and the cv2 code that then makes it RGB.

        The array is uint8 [H, W, C], or [H, W] for grey. rgb8, bgr8, rgba8, bgra8 and mono8 are
        views of `data` (read-only where that is, rows `step` apart); all else is decoded here into
        memory of its own. The code is None where the array is RGB already. 16-bit samples keep
        their upper 8 bits. YUV is BT.601 with limited range. A file's own colours are believed,
        not CompressedImage.format, and an EXIF orientation is ignored: a camera matrix means the
        pixels as they are stored.

        :raises ImageError: as `validate`, and for a file that is cut off, damaged or CMYK.
        """
        self.validate()
        if self.is_compressed:
            return _decode_file(self)
        return _unpack(self, self.layout)

    def decoded(self, least: tuple[int, int] | None = None) -> Image:
        """Return a file as a raw image in memory of its own; a raw image is returned as it is.

        :param least: (width, height) that is needed. A JPEG is decoded at 1/2, 1/4 or 1/8 of its
            size where that divides it evenly and is not less, for a fraction of the work. It shows
            the same view: each pixel is the mean of those of the whole image that it stands for.
        :raises ImageError: as `pixels`.
        """
        if not self.is_compressed:
            return self
        self.validate()
        array, code = _decode_file(self, self.reduction(least) if least else 1)
        height, width = array.shape[:2]
        channels = 1 if array.ndim == 2 else array.shape[2]
        encoding = 'rgb8' if code is None else _DECODED[channels]
        data = np.ascontiguousarray(array).reshape(-1).data
        return Image(data, encoding, width, height, channels * width)

    def reduction(self, least: tuple[int, int]) -> int:
        """Return by how much `decoded` divides the sides for a (width, height): 1, 2, 4 or 8."""
        if self.encoding == 'jpeg' and not self.mosaic:
            for factor in sorted(_REDUCED, reverse=True):
                even = not (self.width % factor or self.height % factor)
                if even and self.width // factor >= least[0] and self.height // factor >= least[1]:
                    return factor
        return 1

    def rgb(self) -> Pixels:
        """Return uint8 [H, W, 3] RGB; for rgb8 a view of `data`, else memory of its own.

        :raises ImageError: as `pixels`.
        """
        array, code = self.pixels()
        return array if code is None else _convert(array, code)


def decode_file(data: bytes) -> Pixels:
    """Return uint8 [H, W, 3] BGR of a picture file of any kind that OpenCV reads, upright.

    :raises ImageError: it is none, is damaged, or is too large for OpenCV.
    """
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as error:
        raise ImageError(f'OpenCV refuses the file of {len(data)} bytes: {error}') from error
    if decoded is None:
        raise ImageError(
            f'expected an image file such as JPEG or PNG, got {len(data)} bytes that are none, or '
            'are damaged'
        )
    return np.asarray(decoded, np.uint8)


def _convert(array: Pixels, code: int) -> Pixels:
    return np.asarray(cv2.cvtColor(array, code), dtype=np.uint8)


def _short(text: str) -> str:
    """Return a string that came from outside, fit for a line of the log."""
    return repr(text) if len(text) <= 40 else f'{text[:40]!r}... ({len(text)} characters)'


def _check_raw(image: Image, layout: Layout) -> None:
    width, height, step, encoding = image.width, image.height, image.step, image.encoding
    if width <= 0 or height <= 0:
        raise ImageError(
            f'image size is {width}x{height} pixels, expected at least 1x1. The camera driver '
            'sent an empty image: check its resolution setting'
        )
    rows, row_bytes = height, width
    match layout:
        case Packed(channels, sample_bytes, _):
            row_bytes = width * channels * sample_bytes
        case Bayer(sample_bytes, _):
            row_bytes = width * sample_bytes
            if min(width, height) < 3:
                raise ImageError(
                    f'a {encoding} image needs at least 3x3 pixels to find colours; got '
                    f'{width}x{height}. Use mono8 for so small an image'
                )
        case Yuv422(_):
            row_bytes = 2 * width
            if width % 2:
                raise ImageError(
                    f'a {encoding} image needs an even width, two pixels share their colour; got '
                    f'{width}x{height}. Let the camera driver crop one column'
                )
        case Yuv420(_):
            rows = height + height // 2
            if width % 2 or height % 2:
                raise ImageError(
                    f'a {encoding} image needs even width and height, 2x2 pixels share their '
                    f'colour; got {width}x{height}. Let the camera driver crop the odd line'
                )
    if step < row_bytes:
        raise ImageError(
            f'step is {step} bytes, but a row of {width} {encoding} pixels has {row_bytes}: '
            'expected step >= that. The camera driver fills in step or encoding wrongly'
        )
    got = memoryview(image.data).nbytes
    if got < step * rows:
        raise ImageError(
            f'{encoding} {width}x{height} with step {step} needs {step * rows} bytes of data; '
            f'got {got}. The message was cut off, or its height, step or encoding is wrong'
        )


def _check_file_header(image: Image) -> None:
    if image.width <= 0 or image.height <= 0:
        raise ImageError(
            f'the {image.encoding} data of {memoryview(image.data).nbytes} bytes has no readable '
            'header; expected a file with its size in it. It was cut off or damaged on its way'
        )
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            f'the {image.encoding} header says {image.width}x{image.height} pixels; expected at '
            f'most {MAX_PIXELS}. The header is damaged, or the image must be scaled down first'
        )


def _samples(image: Image, rows: int, row_bytes: int, sample_bytes: int) -> Pixels:
    """Return uint8 [rows, samples]: a view for 8-bit samples, a copy of the upper byte for 16."""
    step = image.step
    grid: Pixels = np.ndarray(
        (rows, row_bytes), np.uint8, memoryview(image.data).cast('B'), strides=(step, 1)
    )
    if sample_bytes == 2:
        return np.ascontiguousarray(grid[:, (0 if image.is_bigendian else 1) :: 2])
    return grid


def _unpack(image: Image, layout: Layout) -> tuple[Pixels, int | None]:
    width, height = image.width, image.height
    match layout:
        case Packed(channels, sample_bytes, packed_code):
            samples = _samples(image, height, width * channels * sample_bytes, sample_bytes)
            return _with_channels(samples, channels), packed_code
        case Bayer(sample_bytes, code):
            samples = _samples(image, height, width * sample_bytes, sample_bytes)
            return _convert(samples, code), None
        case Yuv422(code):
            samples = _samples(image, height, 2 * width, 1)
            return _convert(_with_channels(samples, 2), code), None
        case Yuv420(code):
            return _convert(_samples(image, height + height // 2, width, 1), code), None


def _with_channels(samples: Pixels, channels: int) -> Pixels:
    """Return [H, W * C] as [H, W, C] ([H, W] for one channel) without a copy."""
    if channels == 1:
        return samples
    height, row_samples = samples.shape
    # reshape would copy rows that lie apart
    return np.lib.stride_tricks.as_strided(
        samples,
        (height, row_samples // channels, channels),
        (samples.strides[0], channels, 1),
        writeable=samples.flags.writeable,
    )


_FILE_CODES = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}
_DECODED = {1: 'mono8', 3: 'bgr8', 4: 'bgra8'}
"""Encoding of what a file becomes, by its channels."""

_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}


def _decode_file(image: Image, reduction: int = 1) -> tuple[Pixels, int | None]:
    """Return the pixels as `Image.pixels` does, the sides divided by `reduction` on the way."""
    # OpenCV fills what is missing of a file that was cut off with grey and says nothing
    check_complete(image.data, image.encoding)
    try:
        data = np.frombuffer(memoryview(image.data), np.uint8)
        flags = cv2.IMREAD_UNCHANGED
        if reduction > 1:
            flags = _REDUCED[reduction] | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(data, flags)
    except cv2.error as error:
        raise ImageError(_undecodable(image, str(error))) from error
    if decoded is None or decoded.dtype not in (np.uint8, np.uint16):
        raise ImageError(_undecodable(image, 'OpenCV cannot decode it'))
    if decoded.dtype == np.uint16:
        decoded = np.right_shift(decoded, 8)
    array: Pixels = decoded.astype(np.uint8, copy=False)
    if array.shape[:2] != (image.height // reduction, image.width // reduction):
        got = f'decoded to {array.shape[1]}x{array.shape[0]}'
        raise ImageError(_undecodable(image, got))
    if array.ndim == 2:
        if image.mosaic:
            return _convert(array, BAYER_CODES[image.mosaic]), None
        return array, cv2.COLOR_GRAY2RGB
    return array, _FILE_CODES[array.shape[2]]


def _undecodable(image: Image, what: str) -> str:
    return (
        f'a {image.encoding} file of {image.width}x{image.height} pixels and '
        f'{memoryview(image.data).nbytes} bytes cannot be decoded: {what}. '
        'It was damaged on its way, or its writer uses a variant that OpenCV does not read'
    )
