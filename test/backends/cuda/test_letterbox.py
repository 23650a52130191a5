"""The GPU's letterbox against the CPU's: the kernel's own source, run by the CPU's compiler.

Its arithmetic is whole numbers, so what a GPU computes from the same source is the same. That the
launch itself works is for `test_gpu.py`.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from pathlib import Path
import subprocess

import cv2
from hypothesis import example, given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.backends.cuda.letterbox import BLOCK, CameraImage, grid, SOURCE
from perception_ros.core.encodings import Bayer, LAYOUTS, Packed, Yuv420, Yuv422
from perception_ros.core.errors import ImageError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox, LetterboxPolicy

Run = Callable[[Image, Letterbox], np.ndarray]

POLICIES = [
    LetterboxPolicy(),
    LetterboxPolicy(anchor='top_left', pad_value=0, rounding='down'),
    LetterboxPolicy(upscale=False, pad_value=255),
]


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return what fills uint8 [H, W, 3] as the kernel does."""
    path = tmp_path_factory.mktemp('cpu') / 'letterbox.so'
    command = ['g++', '-O1', '-shared', '-fPIC', f'-I{SOURCE.parent}', '-o', path]
    subprocess.run([*command, Path(__file__).with_name('cpu.cpp')], check=True)
    kernel = ctypes.CDLL(str(path)).run_letterbox

    def fill(image: Image, letterbox: Letterbox) -> np.ndarray:
        width, height = letterbox.input_size
        out = np.full((height + 1, width, 3), 77, np.uint8)
        source = CameraImage(image)
        job = source.job(source.data.ctypes.data, out.ctypes.data, letterbox)
        kernel(
            ctypes.byref(job),
            (ctypes.c_uint * 2)(*grid(letterbox)),
            (ctypes.c_uint * 2)(*BLOCK),
        )
        assert (out[height] == 77).all(), 'it wrote behind its place in the batch'
        return out[:height]

    return fill


def on_cpu(image: Image, letterbox: Letterbox) -> np.ndarray:
    width, height = letterbox.input_size
    out = np.zeros((height, width, 3), np.uint8)
    letterbox.write(*image.pixels(), out)
    return out


def noise(encoding: str, width: int, height: int, padding: int = 0, seed: int = 0) -> Image:
    """Return random bytes as an image of any raw encoding; the sides are made even if need be."""
    random = np.random.default_rng(seed)
    match LAYOUTS[encoding]:
        case Packed(channels, sample_bytes, _):
            row, rows = width * channels * sample_bytes, height
        case Bayer(sample_bytes, _):
            width, height = max(width, 3), max(height, 3)
            row, rows = width * sample_bytes, height
        case Yuv422():
            width += width % 2
            row, rows = 2 * width, height
        case Yuv420():
            width, height = width + width % 2, height + height % 2
            row, rows = width, height + height // 2
    step = row + padding
    data = random.integers(0, 256, rows * step, np.uint8)
    return Image(data.data, encoding, width, height, step, is_bigendian=bool(seed % 2))


def worst(run: Run, image: Image, size: tuple[int, int], policy: LetterboxPolicy) -> int:
    letterbox = Letterbox.fit((image.width, image.height), size, policy)
    expected = on_cpu(image, letterbox).astype(int)
    return int(np.abs(run(image, letterbox) - expected).max())


@pytest.mark.parametrize('policy', POLICIES, ids=['centred', 'yolox', 'never enlarged'])
@pytest.mark.parametrize('encoding', sorted(LAYOUTS))
def test_every_encoding_comes_out_as_on_the_cpu(
    run: Run, encoding: str, policy: LetterboxPolicy
) -> None:
    for seed, (width, height) in enumerate([(96, 64), (192, 128), (250, 170), (41, 90)]):
        image = noise(encoding, width, height, padding=5 * seed, seed=seed)
        assert worst(run, image, (96, 64), policy) <= 1


@settings(max_examples=150, deadline=None)
@given(
    encoding=st.sampled_from(sorted(LAYOUTS)),
    source=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    size=st.tuples(st.integers(1, 120), st.integers(1, 120)),
    policy=st.builds(
        LetterboxPolicy,
        anchor=st.sampled_from(['center', 'top_left']),
        pad_value=st.integers(0, 255),
        upscale=st.booleans(),
        rounding=st.sampled_from(['nearest', 'down']),
    ),
    padding=st.integers(0, 40),
    seed=st.integers(0, 99),
)
@example(
    encoding='bgr8', source=(1, 1), size=(50, 20), policy=LetterboxPolicy(), padding=0, seed=0
)
def test_any_size_comes_out_as_on_the_cpu(
    run: Run,
    encoding: str,
    source: tuple[int, int],
    size: tuple[int, int],
    policy: LetterboxPolicy,
    padding: int,
    seed: int,
) -> None:
    image = noise(encoding, *source, padding, seed)
    assert worst(run, image, size, policy) <= 1


@pytest.mark.parametrize(
    ('suffix', 'channels'), [('.jpg', 3), ('.png', 1), ('.png', 3), ('.png', 4)]
)
def test_files_come_out_as_on_the_cpu(run: Run, suffix: str, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, channels), np.uint8)
    image = Image.compressed(cv2.imencode(suffix, pixels)[1].tobytes())
    assert worst(run, image, (64, 48), LetterboxPolicy()) <= 1


def test_a_file_that_was_decoded_small_comes_out_as_on_the_cpu(run: Run) -> None:
    """Its letterbox is that of the whole image, its pixels are fewer."""
    pixels = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    whole = Image.compressed(cv2.imencode('.jpg', pixels)[1].tobytes())
    letterbox = Letterbox.fit((1280, 720), (416, 416))
    small = whole.decoded(letterbox.scaled_size)
    assert (small.width, small.height) == (640, 360)
    expected = on_cpu(small, letterbox).astype(int)
    assert np.abs(run(small, letterbox) - expected).max() <= 1


def test_a_camera_image_is_enlarged_to_a_real_network_s_input(run: Run) -> None:
    """Where rounding of coordinates adds up: far from the first pixel."""
    assert worst(run, noise('bgr8', 1279, 719), (1920, 1088), LetterboxPolicy()) <= 1


def test_a_small_wrong_shift_would_be_seen(run: Run) -> None:
    """The tolerance of one grey level must not hide a wrong place."""
    image = noise('bgr8', 90, 70)
    letterbox = Letterbox.fit((90, 70), (96, 64))
    expected = on_cpu(image, letterbox).astype(int)
    assert np.abs(np.roll(run(image, letterbox), 1, axis=1) - expected).max() > 50


def test_an_image_that_cannot_be_decoded_is_refused_before_anything_is_copied() -> None:
    cut = Image(bytes(10), 'bgr8', 8, 8, 24)
    with pytest.raises(ImageError, match='needs 192 bytes'):
        CameraImage(cut)
    with pytest.raises(ImageError, match='unknown encoding'):
        CameraImage(Image(bytes(10), 'xyz', 8, 8, 24))
