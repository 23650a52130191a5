"""The engine on a real GPU: `pytest -m gpu` on a machine that has one, and TensorRT."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.backends.tensorrt.engine import TensorRtEngine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import NotInstalledError
from perception_ros.core.letterbox import Letterbox
from test.backends.cuda.test_letterbox import noise, on_cpu
from test.backends.here import ON_GPU
from test.backends.test_contract import run
from test.builders import write_real_bundle

pytestmark = pytest.mark.gpu

MIB = 1 << 20


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(params=ON_GPU)
def backend(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    monkeypatch.setenv('PERCEPTION_ROS_CACHE', str(tmp_path / 'cache'))
    return str(request.param)


def opened(bundle: Bundle, backend: str, **options: bool) -> TensorRtEngine:
    try:
        engine = open_engine(bundle, backend, EngineOptions(max_batch=4, **options))
    except NotInstalledError as error:
        pytest.skip(f'needs a runtime: {error}')
    assert isinstance(engine, TensorRtEngine)
    return engine


@pytest.fixture
def engine(bundle: Bundle, backend: str) -> Iterator[TensorRtEngine]:
    with opened(bundle, backend) as made:
        yield made


def batch(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 64, 96, 3), np.uint8)


def same(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> None:
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def test_graphs_change_no_answer(bundle: Bundle, backend: str) -> None:
    with (
        opened(bundle, backend, cuda_graphs=True) as captured,
        opened(bundle, backend, cuda_graphs=False) as plain,
    ):
        captured.warm_up()
        for n in (1, 4, 2, 3, 1):
            for seed in range(3):
                same(run(captured, batch(n, seed)), run(plain, batch(n, seed)))


def test_tensorrt_s_runs_can_be_captured(bundle: Bundle) -> None:
    with opened(bundle, 'tensorrt') as engine:
        engine.warm_up()
        assert engine._plan.captures or 'pycuda' in engine._gpu.package, 'the log says why not'


def test_both_slots_at_once_give_what_each_gives_alone(engine: TensorRtEngine) -> None:
    engine.warm_up()
    for seed in range(20):
        pair = [batch(4, 2 * seed), batch(3, 2 * seed + 1)]
        slots = [engine.request(), engine.request()]
        for slot, images in zip(slots, pair, strict=True):
            slot.images[: len(images)] = images
            slot.start(len(images))
        together = [
            {name: array.copy() for name, array in slot.result().items()} for slot in slots
        ]
        for slot in slots:
            slot.release()
        for images, outputs in zip(pair, together, strict=True):
            same(run(engine, images), outputs)


@pytest.mark.parametrize('encoding', ['bgr8', 'mono8', 'bayer_rggb8', 'yuyv', 'nv12', 'rgb16'])
def test_a_camera_image_is_letterboxed_as_on_the_cpu(
    engine: TensorRtEngine, encoding: str
) -> None:
    image = noise(encoding, 1280, 720)
    letterbox = Letterbox.fit((1280, 720), (96, 64))
    request = engine.request()
    request.write(0, image, letterbox)
    request.start(1)
    scores = request.result()['scores'][0, :3].copy()
    request.release()
    expected = on_cpu(image, letterbox).mean((0, 1)) / 255
    np.testing.assert_allclose(scores, expected, atol=1 / 255)


def test_opening_and_closing_leaks_no_memory(bundle: Bundle, backend: str) -> None:
    driver = pytest.importorskip('cuda.bindings.driver', reason='needs a runtime: cuda-python')

    def free_after_use() -> int:
        engine: Engine = opened(bundle, backend)
        with engine:
            run(engine, batch(4))
        with engine._gpu.current():  # type: ignore[attr-defined]
            status, free, _ = driver.cuMemGetInfo()
        assert status == driver.CUresult.CUDA_SUCCESS
        return int(free)

    settled = [free_after_use() for _ in range(3)][-1]  # what is loaded once stays
    last = [free_after_use() for _ in range(10)][-1]
    assert settled - last < 4 * MIB


def test_the_inspector_knows_the_layers(engine: TensorRtEngine) -> None:
    report = engine.report()
    assert report['layers']
    assert 'images' in str(report['tensors'])


def test_a_plan_is_built_once(bundle: Bundle, backend: str) -> None:
    with opened(bundle, backend) as first:
        expected = run(first, batch(2))
    with opened(bundle, backend) as second:
        same(expected, run(second, batch(2)))
