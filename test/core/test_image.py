"""Every encoding against pixels that were laid out by hand, padding, damage and hostile sizes."""

from __future__ import annotations

import struct

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.errors import ImageError
from perception_ros.core.image import COMPRESSED_ENCODINGS, Image, MAX_PIXELS, RAW_ENCODINGS

MOSAICS = ('rggb', 'bggr', 'gbrg', 'grbg')
CHANNELS = {
    'rgb8': 'rgb',
    'bgr8': 'bgr',
    'rgba8': 'rgba',
    'bgra8': 'bgra',
    'mono8': 'y',
    'rgb16': 'rgb',
    'bgr16': 'bgr',
    'rgba16': 'rgba',
    'bgra16': 'bgra',
    'mono16': 'y',
}
YUV422 = {'yuv422': 'uyvy', 'uyvy': 'uyvy', 'yuv422_yuy2': 'yuyv', 'yuyv': 'yuyv'}
NV = {'nv12': 'uv', 'nv21': 'vu'}


def _random(height: int, width: int, channels: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def _smooth(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    ramp = [255 * x / width, 255 * y / height, 255 * (x + y) / (width + height)]
    return np.stack(ramp, axis=2).astype(np.uint8)


def _pad(rows: np.ndarray, padding: int) -> bytes:
    """Return bytes of uint8 [rows, row bytes] with `padding` bytes of rubbish after each row."""
    rubbish = np.full((rows.shape[0], padding), 0xA5, np.uint8)
    return np.hstack([rows, rubbish]).tobytes()


def _packed(rgba: np.ndarray, encoding: str, padding: int, bigendian: bool) -> Image:
    """Lay uint8 [H, W, 4] out by hand; 16-bit samples get a lower byte that must not matter."""
    height, width, _ = rgba.shape
    planes = {**dict(zip('rgba', np.moveaxis(rgba, 2, 0), strict=True)), 'y': rgba[..., 0]}
    samples = np.stack([planes[name] for name in CHANNELS[encoding]], axis=2)
    if encoding.endswith('16'):
        wide = samples.astype(np.uint16) << 8 | 0x7F
        samples = wide.astype('>u2' if bigendian else '<u2').view(np.uint8)
    rows = samples.reshape(height, -1)
    step = rows.shape[1] + padding
    return Image(_pad(rows, padding), encoding, width, height, step, bigendian)


def _bt601(y: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return RGB by ITU-R BT.601 with limited range, in floating point."""
    luma, blue, red = 1.164383 * (y - 16.0), u - 128.0, v - 128.0
    rgb = [
        luma + 1.596027 * red,
        luma - 0.391762 * blue - 0.812968 * red,
        luma + 2.017232 * blue,
    ]
    return np.clip(np.round(np.stack(rgb, axis=2)), 0, 255)


def _yuv(height: int, width: int, rows_a_pair: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = rng.integers(16, 236, (height, width)).astype(np.uint8)
    u, v = rng.integers(16, 241, (2, height // rows_a_pair, width // 2)).astype(np.uint8)
    return y, u, v


@pytest.mark.parametrize('padding', [0, 1, 13])
@pytest.mark.parametrize('encoding', CHANNELS)
@pytest.mark.parametrize('bigendian', [False, True], ids=['little', 'big'])
def test_packed_encodings_give_the_same_rgb(encoding: str, padding: int, bigendian: bool) -> None:
    rgba = _random(5, 7, 4)
    image = _packed(rgba, encoding, padding, bigendian)
    expected = rgba[..., :1].repeat(3, axis=2) if 'mono' in encoding else rgba[..., :3]
    np.testing.assert_array_equal(image.rgb(), expected)


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'])
def test_8_bit_pixels_are_views_of_the_message(encoding: str) -> None:
    image = _packed(_random(6, 8, 4), encoding, 3, False)
    array, _ = image.pixels()
    assert np.shares_memory(array, np.frombuffer(image.data, np.uint8))
    assert not array.flags.writeable


@pytest.mark.parametrize('encoding', ['bgr8', 'bgra8', 'mono8'])
def test_colours_may_be_converted_after_resizing(encoding: str) -> None:
    rgba = np.dstack([_smooth(90, 160), np.full((90, 160), 255, np.uint8)])
    image = _packed(rgba, encoding, 5, False)
    array, code = image.pixels()
    late = cv2.cvtColor(cv2.resize(array, (32, 18), interpolation=cv2.INTER_AREA), code)
    early = cv2.resize(image.rgb(), (32, 18), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(late, early)


@pytest.mark.parametrize('padding', [0, 9])
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('mosaic', MOSAICS)
def test_bayer_pattern_names_the_first_two_rows(mosaic: str, bits: int, padding: int) -> None:
    colours = np.array([[200, 100, 30], [10, 60, 240]], np.uint8)
    height, width = 12, 16
    grid = np.zeros((height, width), np.uint8)
    for row in range(height):
        for column in range(width):
            colour = colours[0 if column < width // 2 else 1]
            grid[row, column] = colour['rgb'.index(mosaic[row % 2 * 2 + column % 2])]
    rows = grid
    if bits == 16:
        rows = (grid.astype('<u2') << 8).view(np.uint8)
    step = rows.shape[1] + padding
    rgb = Image(_pad(rows, padding), f'bayer_{mosaic}{bits}', width, height, step).rgb()
    # two columns beside the edge mix both colours
    np.testing.assert_array_equal(rgb[:, :6], np.broadcast_to(colours[0], (height, 6, 3)))
    np.testing.assert_array_equal(rgb[:, 10:], np.broadcast_to(colours[1], (height, 6, 3)))


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', YUV422)
def test_yuv422_in_both_orders(encoding: str, padding: int) -> None:
    height, width = 6, 10
    y, u, v = _yuv(height, width, 1)
    planes = {'u': u, 'v': v}
    rows = np.zeros((height, 2 * width), np.uint8)
    first_luma = YUV422[encoding].index('y')
    rows[:, first_luma::2] = y
    for name, plane in planes.items():
        rows[:, YUV422[encoding].index(name) :: 4] = plane
    image = Image(_pad(rows, padding), encoding, width, height, 2 * width + padding)
    expected = _bt601(y, u.repeat(2, axis=1), v.repeat(2, axis=1))
    assert np.abs(image.rgb() - expected).max() <= 2


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize('encoding', NV)
def test_nv12_and_nv21(encoding: str, padding: int) -> None:
    height, width = 6, 10
    y, u, v = _yuv(height, width, 2)
    colour = np.zeros((height // 2, width), np.uint8)
    colour[:, NV[encoding].index('u') :: 2] = u
    colour[:, NV[encoding].index('v') :: 2] = v
    rows = np.vstack([y, colour])
    image = Image(_pad(rows, padding), encoding, width, height, width + padding)
    wide_u, wide_v = (plane.repeat(2, axis=0).repeat(2, axis=1) for plane in (u, v))
    assert np.abs(image.rgb() - _bt601(y, wide_u, wide_v)).max() <= 2


def test_every_raw_encoding_is_tested_here() -> None:
    bayer = {f'bayer_{mosaic}{bits}' for mosaic in MOSAICS for bits in (8, 16)}
    assert set(RAW_ENCODINGS) == {*CHANNELS, *YUV422, *NV, *bayer}
    assert COMPRESSED_ENCODINGS == ('jpeg', 'png')


def test_encoding_names_ignore_case() -> None:
    rgb = _random(4, 4, 3)
    image = Image.from_array(rgb)
    np.testing.assert_array_equal(Image(image.data, 'RGB8', 4, 4, 12).rgb(), rgb)


def test_from_array_borrows_contiguous_pixels_and_refuses_others() -> None:
    rgb = _random(4, 6, 3)
    assert np.shares_memory(Image.from_array(rgb).rgb(), rgb)
    np.testing.assert_array_equal(Image.from_array(rgb[:, ::2]).rgb(), rgb[:, ::2])
    with pytest.raises(ImageError, match=r'uint8 \[H, W, 3\] RGB; got float64 \[4, 6\]'):
        Image.from_array(np.zeros((4, 6)))


@given(
    encoding=st.sampled_from(sorted(CHANNELS)),
    width=st.integers(1, 40),
    height=st.integers(1, 30),
    padding=st.integers(0, 20),
    bigendian=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_size_and_padding(
    encoding: str, width: int, height: int, padding: int, bigendian: bool
) -> None:
    rgba = _random(height, width, 4, seed=width)
    image = _packed(rgba, encoding, padding, bigendian)
    image.validate()
    expected = rgba[..., :1].repeat(3, axis=2) if 'mono' in encoding else rgba[..., :3]
    np.testing.assert_array_equal(image.rgb(), expected)


@given(
    encoding=st.sampled_from(sorted(RAW_ENCODINGS)),
    width=st.integers(0, 20),
    height=st.integers(0, 20),
    step=st.integers(0, 120),
    size=st.integers(0, 3000),
)
@settings(max_examples=400, deadline=None)
def test_any_description_is_either_refused_or_decoded(
    encoding: str, width: int, height: int, step: int, size: int
) -> None:
    image = Image(bytes(size), encoding, width, height, step)
    try:
        rgb = image.rgb()
    except ImageError:
        return
    assert rgb.shape == (height, width, 3)


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        pytest.param(Image(b'', 'bgr8', 0, 480, 0), 'size is 0x480 pixels', id='zero width'),
        pytest.param(Image(b'', 'bgr8', 640, 0, 1920), 'size is 640x0 pixels', id='zero height'),
        pytest.param(
            Image(bytes(640 * 480), 'bgr8', 640, 480, 640),
            'step is 640 bytes, but a row of 640 bgr8 pixels has 1920',
            id='step counts pixels instead of bytes',
        ),
        pytest.param(
            Image(bytes(1000), 'mono8', 64, 48, 64),
            'needs 3072 bytes of data; got 1000',
            id='data cut off',
        ),
        pytest.param(
            Image(bytes(64 * 48), 'nv12', 64, 48, 64),
            'needs 4608 bytes of data; got 3072',
            id='nv12 without its colour plane',
        ),
        pytest.param(
            Image(bytes(100), 'bgr10', 2, 2, 6), "unknown encoding 'bgr10'", id='unknown encoding'
        ),
        pytest.param(Image(bytes(100), 'yuyv', 3, 2, 6), 'even width', id='odd yuv422 width'),
        pytest.param(
            Image(bytes(100), 'nv21', 4, 3, 4), 'even width and height', id='odd nv21 height'
        ),
        pytest.param(
            Image(bytes(4), 'bayer_rggb8', 2, 2, 2), 'at least 3x3 pixels', id='tiny mosaic'
        ),
        pytest.param(Image.compressed(b'', 'jpeg'), 'no readable header', id='empty jpeg'),
        pytest.param(
            Image.compressed(b'\x00\x00\x01\x67', 'h264'), "unknown encoding 'h264'", id='video'
        ),
        pytest.param(Image.compressed(b'rubbish', ''), "encoding 'unknown'", id='no format'),
    ],
)
def test_contradictions_are_refused_at_ingest(image: Image, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        image.validate()
    with pytest.raises(ImageError, match=message):
        image.pixels()


def test_a_damaged_encoding_does_not_fill_the_log() -> None:
    with pytest.raises(ImageError) as error:
        Image(bytes(100), 'x' * 1_000_000, 2, 2, 6).validate()
    assert '(1000000 characters)' in str(error.value)
    assert len(str(error.value)) < 1000


def _encode(extension: str, array: np.ndarray, *options: int) -> bytes:
    ok, data = cv2.imencode(extension, array, options)
    assert ok
    return data.tobytes()


def _with_thumbnail(jpeg: bytes) -> bytes:
    """Put a small whole JPEG into an application segment, as cameras do."""
    thumbnail = _encode('.jpg', np.zeros((8, 8, 3), np.uint8))
    return jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(thumbnail) + 2) + thumbnail + jpeg[2:]


@pytest.mark.parametrize(
    ('array', 'expected'),
    [
        pytest.param(lambda a: a[..., ::-1], lambda a: a, id='colour'),
        pytest.param(lambda a: a[..., 0], lambda a: a[..., [0, 0, 0]], id='grey'),
        pytest.param(
            lambda a: np.dstack([a[..., ::-1], 255 - a[..., 0]]), lambda a: a, id='with alpha'
        ),
        pytest.param(
            lambda a: a[..., ::-1].astype(np.uint16) * 256 + 99, lambda a: a, id='16-bit colour'
        ),
        pytest.param(
            lambda a: a[..., 0].astype(np.uint16) * 256, lambda a: a[..., [0, 0, 0]], id='16-bit'
        ),
    ],
)
def test_png_of_any_kind(array: object, expected: object) -> None:
    rgb = _random(11, 17, 3)
    image = Image.compressed(_encode('.png', array(rgb)), 'rgb8; png compressed bgr8')
    assert (image.encoding, image.width, image.height) == ('png', 17, 11)
    np.testing.assert_array_equal(image.rgb(), expected(rgb))


@pytest.mark.parametrize('progressive', [0, 1], ids=['baseline', 'progressive'])
def test_jpeg_colours_survive(progressive: int) -> None:
    rgb = _smooth(48, 64)
    data = _encode('.jpg', rgb[..., ::-1], cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    image = Image.compressed(data, 'bgr8; jpeg compressed bgr8')
    assert (image.encoding, image.width, image.height) == ('jpeg', 64, 48)
    assert np.abs(image.rgb().astype(int) - rgb).max() < 12


def test_grey_jpeg() -> None:
    grey = _smooth(48, 64)[..., 0]
    rgb = Image.compressed(_encode('.jpg', grey), 'mono8; jpeg compressed').rgb()
    assert np.abs(rgb.astype(int) - grey[..., None]).max() < 12


def test_the_bytes_decide_when_the_format_lies() -> None:
    rgb = _random(9, 9, 3)
    image = Image.compressed(_encode('.png', rgb[..., ::-1]), 'jpeg')
    assert image.encoding == 'png'
    np.testing.assert_array_equal(image.rgb(), rgb)


@pytest.mark.parametrize('bits', [8, 16])
def test_mosaic_in_a_png_is_demosaiced(bits: int) -> None:
    grid = np.zeros((8, 8), np.uint16)
    grid[::2, ::2], grid[1::2, 1::2] = 30, 200
    grid[::2, 1::2] = grid[1::2, ::2] = 100
    stored = grid.astype(np.uint8) if bits == 8 else grid << 8
    image = Image.compressed(_encode('.png', stored), f'bayer_bggr{bits}; png compressed ')
    np.testing.assert_array_equal(np.unique(image.rgb().reshape(-1, 3), axis=0), [[200, 100, 30]])


@pytest.mark.parametrize('thumbnail', [False, True], ids=['plain', 'with thumbnail'])
@pytest.mark.parametrize('progressive', [0, 1], ids=['baseline', 'progressive'])
def test_truncated_jpeg_is_refused_at_every_length(thumbnail: bool, progressive: int) -> None:
    array = _random(24, 40, 3)
    data = _encode('.jpg', array, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    data = _with_thumbnail(data) if thumbnail else data
    Image.compressed(data, 'jpeg').rgb()
    for length in range(len(data)):
        with pytest.raises(ImageError):
            Image.compressed(data[:length], 'jpeg').rgb()


def test_padding_after_the_end_of_a_jpeg_is_allowed() -> None:
    data = _encode('.jpg', _smooth(24, 40))
    np.testing.assert_array_equal(
        Image.compressed(data + bytes(512)).rgb(), Image.compressed(data).rgb()
    )


def test_truncated_png_is_refused_at_every_length() -> None:
    data = _encode('.png', _random(12, 12, 3))
    for length in range(len(data)):
        with pytest.raises(ImageError):
            Image.compressed(data[:length], 'png').rgb()


@given(at=st.integers(8, 200), bit=st.integers(0, 7))
@settings(max_examples=60, deadline=None)
def test_a_flipped_bit_in_a_png_is_refused(at: int, bit: int) -> None:
    data = bytearray(_encode('.png', _random(12, 12, 3)))
    data[at] ^= 1 << bit
    with pytest.raises(ImageError):
        Image.compressed(data, 'png').rgb()


@given(start=st.sampled_from([b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n', b'']), data=st.binary())
@settings(max_examples=300, deadline=None)
def test_rubbish_never_raises_anything_else(start: bytes, data: bytes) -> None:
    with pytest.raises(ImageError):
        Image.compressed(start + data, 'jpeg').rgb()


@given(at=st.integers(0, 2000), value=st.integers(0, 255))
@settings(max_examples=150, deadline=None)
def test_a_damaged_jpeg_gives_pixels_or_an_image_error(at: int, value: int) -> None:
    data = bytearray(_encode('.jpg', _random(24, 40, 3)))
    data[at % len(data)] = value
    image = Image.compressed(data, 'jpeg')
    try:
        rgb = image.rgb()
    except ImageError:
        return
    assert rgb.shape == (image.height, image.width, 3)


@pytest.mark.parametrize('marker', [0x01, 0x42, 0xC0, 0xF7], ids=lambda value: f'{value:02X}')
def test_a_jpeg_whose_pixels_end_early_is_refused(marker: int) -> None:
    """OpenCV would leave the rest grey: objects would vanish without a word."""
    data = bytearray(_encode('.jpg', _random(64, 96, 3)))
    data[len(data) // 2 : len(data) // 2 + 2] = bytes((0xFF, marker))
    with pytest.raises(ImageError, match=f'a marker FF {marker:02X} among its pixels, at byte'):
        Image.compressed(data, 'jpeg').rgb()


@pytest.mark.parametrize('options', [
    (cv2.IMWRITE_JPEG_RST_INTERVAL, 3), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    (cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
], ids=['restarts', 'many scans', 'both'])
def test_markers_that_belong_among_pixels_are_allowed(options: tuple[int, ...]) -> None:
    rgb = _smooth(64, 96)
    data = _encode('.jpg', rgb[..., ::-1], *options)
    assert np.abs(Image.compressed(data).rgb().astype(int) - rgb).mean() < 5


def test_a_header_that_claims_all_memory_is_refused() -> None:
    data = bytearray(_encode('.jpg', _smooth(8, 8)))
    at = data.index(b'\xff\xc0') + 5
    struct.pack_into('>HH', data, at, 65535, 65535)
    with pytest.raises(ImageError, match=f'at most {MAX_PIXELS}'):
        Image.compressed(data, 'jpeg').rgb()


def test_cmyk_jpeg_is_refused() -> None:
    data = bytearray(_encode('.jpg', _smooth(8, 8)))
    data[data.index(b'\xff\xc0') + 9] = 4
    with pytest.raises(ImageError, match='CMYK'):
        Image.compressed(data, 'jpeg').rgb()


@pytest.mark.parametrize(
    'options', [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)], ids=['baseline', 'progressive']
)
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('factor', [1, 2, 4, 8])
def test_a_jpeg_is_decoded_no_larger_than_needed(
    factor: int, channels: int, options: tuple[int, ...]
) -> None:
    """Each pixel is the mean of those that it stands for, so geometry is that of the whole."""
    array = cv2.GaussianBlur(_smooth(160, 320), (0, 0), 3)
    array = array if channels == 3 else array[..., 0]
    image = Image.compressed(_encode('.jpg', array, cv2.IMWRITE_JPEG_QUALITY, 98, *options))
    small = image.decoded((320 // factor, 100 // factor))
    assert (small.width, small.height) == (320 // factor, 160 // factor)
    whole = image.rgb().astype(np.float64)
    means = whole.reshape(160 // factor, factor, 320 // factor, factor, 3).mean((1, 3))
    assert np.abs(small.rgb() - means).max() < 6


@given(
    size=st.tuples(st.integers(8, 200), st.integers(8, 200)),
    least=st.tuples(st.integers(1, 200), st.integers(1, 200)),
)
@settings(max_examples=50, deadline=None)
def test_it_is_never_less_than_is_needed_and_never_askew(
    size: tuple[int, int], least: tuple[int, int]
) -> None:
    """A side that a factor does not divide would be stretched by part of a pixel."""
    image = Image.compressed(_encode('.jpg', _random(size[1], size[0], 3)))
    small = image.decoded(least)
    factor = size[0] // small.width
    assert (small.width * factor, small.height * factor) == size
    if factor > 1:
        assert small.width >= least[0] and small.height >= least[1]


def test_other_files_are_decoded_as_they_are() -> None:
    array = _random(64, 64, 3)
    small = Image.compressed(_encode('.png', array)).decoded((8, 8))
    np.testing.assert_array_equal(small.rgb(), array[..., ::-1])
    mosaic = Image.compressed(_encode('.jpg', array[..., 0]), 'bayer_rggb8; jpeg')
    assert mosaic.decoded((8, 8)).width == 64, 'neighbours are different colours'
    raw = Image.from_array(array)
    assert raw.decoded((8, 8)) is raw


def test_an_orientation_in_a_file_is_ignored_at_every_size() -> None:
    """The camera matrix means the pixels as they are stored."""
    jpeg = _encode('.jpg', _smooth(64, 128))
    exif = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    turned = jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape[:2] == (128, 64)
    for least in ((128, 64), (64, 32), (16, 8)):
        small = Image.compressed(turned).decoded(least)
        assert (small.width, small.height) == least
