"""Which providers a device means, and what the options change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.backends.onnxruntime import call_sizes, OnnxRuntimeEngine, providers
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from test.builders import picture, write_real_bundle

CPU, CUDA, TENSORRT = (
    f'{name}ExecutionProvider' for name in ('CPU', 'CUDA', 'Tensorrt')
)
FAST = {'cudnn_conv_algo_search': 'HEURISTIC'}


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.mark.parametrize(
    ('device', 'available', 'expected', 'name'),
    [
        ('auto', [CPU], [(CPU, {})], 'cpu'),
        ('cpu', [CUDA, CPU], [(CPU, {})], 'cpu'),
        ('auto', [CUDA, CPU], [(CUDA, {'device_id': '0', **FAST}), (CPU, {})], 'cuda:0'),
        ('cuda:1', [CUDA, CPU], [(CUDA, {'device_id': '1', **FAST}), (CPU, {})], 'cuda:1'),
        (
            'tensorrt:2', [TENSORRT, CUDA, CPU],
            [(TENSORRT, {'device_id': '2'}), (CUDA, {'device_id': '2', **FAST}), (CPU, {})],
            'tensorrt:2',
        ),
    ],
    ids=['auto on a CPU', 'cpu beside a GPU', 'auto on a GPU', 'second GPU', 'tensorrt'],
)
def test_a_device_means_these_providers(
    device: str, available: list[str], expected: list[tuple[str, dict[str, str]]], name: str
) -> None:
    assert providers(device, available) == (expected, name)


@pytest.mark.parametrize(
    ('device', 'says'),
    [
        ('cuda', 'install onnxruntime-gpu'),
        ('tensorrt', 'install onnxruntime-gpu'),
        ('cuda:first', 'expected auto, cpu, cuda'),
        ('cpu:0', 'expected auto, cpu, cuda'),
    ],
)
def test_a_device_that_is_not_there_is_refused(device: str, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        providers(device, [CPU])


@pytest.mark.parametrize('level', ['disabled', 'basic', 'extended', 'all'])
def test_optimisation_changes_no_answer(bundle: Bundle, level: str) -> None:
    with open_engine(
        bundle,
        'onnxruntime',
        EngineOptions(max_batch=1, device='cpu', graph_optimization=level),  # type: ignore[arg-type]
    ) as engine:
        request = engine.request()
        request.images[0] = picture(96, 64, green=(0, 0, 96, 64))
        request.start(1)
        np.testing.assert_allclose(request.result()['scores'][0, :3], [0, 1, 0], atol=1e-6)
        request.release()


def test_the_sizes_of_calls_on_a_gpu() -> None:
    assert call_sizes(1) == (1,)
    assert call_sizes(6) == (1, 2, 4, 6)
    assert call_sizes(8) == (1, 2, 4, 8)


def test_a_call_that_is_padded_gives_the_answers_of_its_own_images_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU, with the CPU to compute: what another batch left in the slot is no answer."""
    monkeypatch.setattr(
        'perception_ros.backends.onnxruntime.providers', lambda *_: ([(CPU, {})], 'cuda:0')
    )
    pictures = [
        picture(96, 64, **{colour: (0, 0, 96, 64)})
        for colour in ('red', 'green', 'blue', 'green', 'red')
    ]
    with open_engine(bundle, 'onnxruntime', EngineOptions(max_batch=6)) as engine:
        engine.warm_up()
        for n in (5, 3, 1, 2, 4):
            request = engine.request()
            request.images[:n] = pictures[:n]
            request.start(n)
            scores = request.result()['scores']
            assert len(scores) == n
            assert scores[:, :3].argmax(axis=1).tolist() == [0, 1, 2, 1, 0][:n]
            request.release()


def test_a_batch_for_all_lanes_has_its_answers_in_order(bundle: Bundle) -> None:
    """Images are run side by side; whichever is done first must not be taken for another."""
    colours = ('red', 'green', 'blue', 'green', 'red')
    pictures = [picture(96, 64, **{colour: (0, 0, 96, 64)}) for colour in colours]
    with open_engine(bundle, 'onnxruntime', EngineOptions(max_batch=5, threads=2)) as engine:
        requests = [engine.request(), engine.request()]
        for request, n in zip(requests, (5, 3), strict=True):
            request.images[:n] = pictures[:n]
            request.start(n)
        for request, n in zip(requests, (5, 3), strict=True):
            scores = request.result()['scores']
            assert scores[:, :3].argmax(axis=1).tolist() == [0, 1, 2, 1, 0][:n]
            request.release()


def test_an_image_that_fails_in_a_lane_fails_its_batch_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slot must come back, and with it the next batch's answers."""
    run, calls = OnnxRuntimeEngine._call, iter(range(100))

    def fail_once(self: OnnxRuntimeEngine, *arguments: Any) -> Any:
        if next(calls) == 1:
            raise BackendError('the second image')
        return run(self, *arguments)

    monkeypatch.setattr(OnnxRuntimeEngine, '_call', fail_once)
    with open_engine(bundle, 'onnxruntime', EngineOptions(max_batch=4, threads=2)) as engine:
        for fails in (True, False):
            request = engine.request()
            request.images[...] = 114
            request.start(4)
            if fails:
                with pytest.raises(BackendError, match='the second image'):
                    request.result()
            else:
                assert len(request.result()['scores']) == 4
            request.release()
