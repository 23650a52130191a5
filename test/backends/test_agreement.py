"""Every backend against ONNX Runtime on the CPU, on real images: the runtime must not matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest

from perception_ros.backends import Engine, EngineOptions
from perception_ros.backends.triton.repository import Serving, write_repository
from perception_ros.bundles import Bundle
from perception_ros.core.letterbox import Letterbox, LetterboxPolicy
from test.backends.here import marked, ON_GPU, open_here
from test.backends.triton.process import ServerProcess
from test.bundles.shared import shared, twinlitenet, yolox

OTHERS = marked(['openvino', *ON_GPU, 'triton', 'triton, messages'])
BOX_PX, SCORE, MASK_SHARE = 0.01, 1e-4, 1e-4
LEAST = 0.01
"""Below this score the best N of equals are a matter of rounding."""


def letterboxed(bundle: Bundle, paths: list[Path]) -> np.ndarray:
    """Return pictures as the bundle's input, uint8 [n, H, W, 3] RGB."""
    size, policy = bundle.manifest.input, bundle.manifest.input.letterbox
    batch = np.zeros((len(paths), size.height, size.width, 3), np.uint8)
    for path, out in zip(paths, batch, strict=True):
        rgb = np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])
        fit = Letterbox.fit(
            (rgb.shape[1], rgb.shape[0]),
            (size.width, size.height),
            LetterboxPolicy(policy.anchor, policy.pad_value, policy.upscale, policy.rounding),
        )
        fit.write(rgb, None, out)
    return batch


@contextmanager
def opened(bundle: Bundle, backend: str, max_batch: int) -> Iterator[Engine]:
    """Open a bundle, behind a server that serves it if the backend wants one."""
    name, _, messages = backend.partition(', ')
    options = EngineOptions(max_batch=max_batch, device='cpu')
    with ExitStack() as stack:
        if name == 'triton':
            folder = Path(stack.enter_context(TemporaryDirectory())) / 'models'
            write_repository(folder, [bundle], Serving(max_batch=max_batch, queue_timeout_ms=0))
            server = stack.enter_context(ServerProcess(folder, shared=not messages))
            options = replace(options, server=server.address, server_timeout_ms=60_000)
        yield stack.enter_context(open_here(bundle, name, options))


def run(engine: Engine, batch: np.ndarray) -> dict[str, np.ndarray]:
    request = engine.request()
    request.images[: len(batch)] = batch
    request.start(len(batch))
    outputs = {name: array.copy() for name, array in request.result().items()}
    request.release()
    return outputs


def differences(expected: dict[str, np.ndarray], came: dict[str, np.ndarray]) -> tuple[int, float]:
    """Pair the boxes of one image by nearest box of the same label.

    :return: how many boxes there are, and their largest distance in pixels.
    """
    kept = np.flatnonzero(expected['scores'] >= LEAST)
    free = set(np.flatnonzero(came['scores'] >= LEAST - SCORE))
    worst = 0.0
    for index in kept:
        partners = [
            i for i in free
            if came['labels'][i] == expected['labels'][index]
            and abs(came['scores'][i] - expected['scores'][index]) <= SCORE
        ]
        assert partners, f'no partner for {expected["boxes"][index]} {expected["scores"][index]}'
        distances = [
            float(np.abs(came['boxes'][i] - expected['boxes'][index]).max()) for i in partners
        ]
        free.remove(partners[int(np.argmin(distances))])
        worst = max(worst, min(distances))
    lonely = [i for i in free if came['scores'][i] >= LEAST + SCORE]
    assert not lonely, f'boxes that ONNX Runtime has not: {came["boxes"][lonely]}'
    return len(kept), worst


@pytest.mark.slow
@pytest.mark.parametrize('backend', OTHERS)
def test_boxes_agree(backend: str) -> None:
    paths = sorted(shared('idd', 'images').glob('*.jpg'))
    bundle = yolox()
    batch = letterboxed(bundle, paths[:: len(paths) // 12][:12])
    boxes = 0
    with (
        opened(bundle, 'onnxruntime', 4) as first,
        opened(bundle, backend, 4) as second,
    ):
        assert second.info.precision == 'fp32'
        for begin, n in ((0, 1), (1, 2), (3, 4), (7, 4), (11, 1)):
            part = batch[begin : begin + n]
            expected, came = run(first, part), run(second, part)
            for i in range(n):
                found, worst = differences(
                    {name: array[i] for name, array in expected.items()},
                    {name: array[i] for name, array in came.items()},
                )
                assert worst <= BOX_PX
                boxes += found
    assert boxes >= 50, 'these pictures show traffic'


@pytest.mark.slow
@pytest.mark.timeout(600)
# How answers travel is the same for boxes, whose network is ten times faster.
@pytest.mark.parametrize('backend', OTHERS[:-1])
def test_masks_agree(backend: str) -> None:
    paths = sorted(shared('bdd_frames').glob('*.jpg'))[:3]
    bundle = twinlitenet()
    batch = letterboxed(bundle, paths)
    with (
        opened(bundle, 'onnxruntime', 2) as first,
        opened(bundle, backend, 2) as second,
    ):
        for begin, n in ((0, 1), (1, 2)):
            expected = run(first, batch[begin : begin + n])
            came = run(second, batch[begin : begin + n])
            for name, mask in expected.items():
                assert (mask != came[name]).mean() < MASK_SHARE, name
                assert (mask == 1).mean() > 0.001, 'there is road in these pictures'
