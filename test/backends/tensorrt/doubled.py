"""The engine over doubles of the driver and of TensorRT; `test_doubled.py` runs this file.

What it proves: which calls reach the driver, in which order and with which arguments; that nothing
is read before it is there or changed while it is needed; that all is freed; that an error leaves
the slot usable. What it does not: anything about time, TensorRT or a real GPU.
"""

from __future__ import annotations

from collections.abc import Iterator
import logging
import os
from pathlib import Path
import sys
import threading
import time

import numpy as np
import pytest

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.backends.base import Request
from perception_ros.backends.cuda import open_gpu
from perception_ros.backends.tensorrt import engine as engine_module
from perception_ros.backends.tensorrt.build import Profile
from perception_ros.backends.tensorrt.engine import TensorRtEngine
from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.plans import Plan
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.encodings import LAYOUTS
from perception_ros.core.errors import BackendError, ImageError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox
from test.backends.cuda.driver import DriverDouble
from test.backends.cuda.test_letterbox import noise, on_cpu
from test.backends.test_contract import (  # noqa: F401  (collected from here too)
    images,
    run,
    test_a_batch_that_does_not_fit_is_refused,
    test_a_camera_s_image_is_letterboxed_into_its_place,
    test_a_failed_run_leaves_the_engine_usable,
    test_a_slot_is_reused_without_traces_of_the_last_batch,
    test_closing_waits_for_what_runs_and_refuses_what_comes,
    test_each_image_gets_its_own_answer_at_every_batch_size,
    test_it_says_what_it_is,
    test_outputs_have_the_shapes_and_types_of_the_contract,
    test_result_before_start_is_an_error,
    test_two_requests_are_in_flight_and_a_third_waits_for_a_slot,
    test_warm_up_leaves_all_slots_free,
)
from test.builders import write_real_bundle

sys.path.insert(0, str(Path(__file__).with_name('double')))
import tensorrt

DRIVER = DriverDouble(Path(os.environ['DRIVER_DOUBLE']))
GRAPHS = os.environ['PERCEPTION_ROS_CUDA'] != 'pycuda'
"""pycuda knows none."""

needs_graphs = pytest.mark.skipif(not GRAPHS, reason='pycuda knows no CUDA graphs')


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(autouse=True)
def plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the graph itself be the plan: the double has no builder."""

    def plan_for(bundle: Bundle, options: EngineOptions, library: Library, gpu: str) -> Plan:
        assert gpu == 'a double, compute capability 8.6'
        return Plan(
            payload=bundle.graph_path.read_bytes(),
            library=str(library),
            gpu=gpu,
            profile=Profile.of(options),
            precision='fp32',
            shares={},
            layers={},
            build_s=0.0,
            path=None,
            was_built=True,
        )

    monkeypatch.setattr(engine_module, 'plan_for', plan_for)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert DRIVER.alive == 0
    assert tensorrt.ICudaEngine.alive == 0


@pytest.fixture(params=['graphs', 'no graphs', 'static'])
def engine(
    request: pytest.FixtureRequest, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Engine]:
    static = request.param == 'static'
    monkeypatch.setattr(tensorrt, 'STATIC_BATCH', 4 if static else 0)
    options = EngineOptions(
        max_batch=4, dla_core=0 if static else -1, cuda_graphs=request.param != 'no graphs'
    )
    with open_engine(bundle, 'tensorrt', options) as opened:
        yield opened


@pytest.fixture
def plain(bundle: Bundle) -> Iterator[TensorRtEngine]:
    with open_engine(bundle, 'tensorrt', EngineOptions(max_batch=4)) as opened:
        assert isinstance(opened, TensorRtEngine)
        yield opened


def placed(image: Image) -> tuple[Letterbox, np.ndarray]:
    """Return the letterbox of an image for the network, and what the CPU makes of it."""
    letterbox = Letterbox.fit((image.width, image.height), (96, 64))
    return letterbox, on_cpu(image, letterbox)


def strongest(pixels: np.ndarray) -> np.ndarray:
    """Return what the network's mask says: the strongest channel of each pixel."""
    return pixels.argmax(axis=-1).astype(np.uint8)


@pytest.mark.parametrize('encoding', sorted(LAYOUTS))
def test_an_image_of_any_encoding_is_letterboxed_by_the_gpu(
    plain: TensorRtEngine, encoding: str
) -> None:
    image = noise(encoding, 150, 90, padding=7)
    letterbox, expected = placed(image)
    request = plain.request()
    request.images[...] = 0
    request.write(0, image, letterbox)
    request.start(1)
    outputs = request.result()
    assert not request.images.any(), 'the CPU has no part in it'
    np.testing.assert_allclose(
        outputs['scores'][0, :3], expected.mean((0, 1)) / 255, atol=1 / 255
    )
    assert (outputs['semantic_ground'][0] == strongest(expected)).mean() > 0.9
    request.release()


def test_frames_of_growing_sizes_do_not_disturb_one_another(plain: TensorRtEngine) -> None:
    """Their buffers grow while the copies of earlier ones are still to be done."""
    request = plain.request()
    for size in (20, 100, 300, 40):
        pictures = [noise('bgr8', size + n, size, seed=n) for n in range(4)]
        for index, image in enumerate(pictures):
            request.write(index, image, placed(image)[0])
        request.start(4)
        masks = request.result()['semantic_ground']
        for mask, image in zip(masks, pictures, strict=True):
            assert (mask == strongest(placed(image)[1])).mean() > 0.9
        request.release()
        request = plain.request()
    request.release()


def test_a_place_may_be_written_again_before_the_start(plain: TensorRtEngine) -> None:
    first, second = noise('rgb8', 90, 60, seed=2), noise('rgb8', 96, 64, seed=4)
    request = plain.request()
    for image in (first, second):
        request.write(0, image, placed(image)[0])
    request.start(1)
    expected = strongest(placed(second)[1])
    np.testing.assert_array_equal(request.result()['semantic_ground'][0], expected)
    request.release()


def test_a_batch_may_mix_both_ways_in(plain: TensorRtEngine) -> None:
    camera = noise('rgb8', 96, 64)
    ready = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    request = plain.request()
    request.images[0] = request.images[2] = ready
    request.write(1, camera, placed(camera)[0])
    request.start(3)
    masks = request.result()['semantic_ground']
    for mask, pixels in zip(masks, [ready, placed(camera)[1], ready], strict=True):
        np.testing.assert_array_equal(mask, strongest(pixels))
    request.release()


def test_an_image_that_cannot_be_decoded_leaves_its_place_to_the_next(
    plain: TensorRtEngine,
) -> None:
    image = noise('rgb8', 96, 64)
    request = plain.request()
    with pytest.raises(ImageError):
        request.write(0, Image(bytes(9), 'rgb8', 96, 64, 288), placed(image)[0])
    request.write(0, image, placed(image)[0])
    request.start(1)
    expected = strongest(placed(image)[1])
    np.testing.assert_array_equal(request.result()['semantic_ground'][0], expected)
    request.release()


@pytest.mark.parametrize('index', [-1, 4])
def test_a_place_outside_of_the_batch_is_refused(plain: TensorRtEngine, index: int) -> None:
    image = noise('rgb8', 96, 64)
    request = plain.request()
    with pytest.raises(IndexError, match='below 4'):
        request.write(index, image, placed(image)[0])
    request.release()


def test_a_letterbox_for_another_input_is_refused(plain: TensorRtEngine) -> None:
    request = plain.request()
    with pytest.raises(ValueError, match='expected \\(96, 64\\)'):
        request.write(0, noise('rgb8', 9, 9), Letterbox.fit((9, 9), (960, 640)))
    request.release()


def a_run(request: Request, n: int) -> list[str]:
    """Return the calls that reach the driver for one run."""
    DRIVER.calls()
    request.start(n)
    request.result()
    return DRIVER.calls()


PLAIN = ['cuMemcpyHtoDAsync', *['cuMemcpyDtoHAsync'] * 4, 'cuEventRecord', 'cuEventSynchronize']
CAPTURING = [
    'cuMemcpyHtoDAsync', 'cuStreamBeginCapture', *['cuMemcpyDtoHAsync'] * 4,
    'cuStreamEndCapture', 'cuGraphInstantiate', 'cuGraphDestroy', 'cuGraphLaunch',
    'cuEventRecord', 'cuEventSynchronize',
]  # fmt: skip
REPLAYING = ['cuMemcpyHtoDAsync', 'cuGraphLaunch', 'cuEventRecord', 'cuEventSynchronize']


@needs_graphs
def test_the_second_run_of_a_batch_size_captures_its_graph_and_the_rest_replay_it(
    plain: TensorRtEngine,
) -> None:
    request = plain.request()
    for n in (2, 3):  # the graph of another size changes nothing
        assert a_run(request, n) == PLAIN
        assert a_run(request, n) == CAPTURING
        assert a_run(request, n) == REPLAYING
    assert a_run(request, 2) == REPLAYING
    request.release()


@needs_graphs
def test_after_warm_up_every_batch_size_of_every_slot_is_a_graph(plain: TensorRtEngine) -> None:
    plain.warm_up()
    slots = [plain.request(), plain.request()]
    for slot in slots:
        for n in (1, 2, 3, 4):
            assert a_run(slot, n) == REPLAYING
        slot.release()


def test_a_warm_slot_allocates_nothing(plain: TensorRtEngine) -> None:
    image = noise('bgr8', 150, 90)
    for _ in range(3):
        request = plain.request()
        request.write(0, image, placed(image)[0])
        calls = a_run(request, 1)
        request.release()
    assert not [name for name in calls if 'Alloc' in name or 'Create' in name]
    assert 'cuMemcpyHtoDAsync' not in calls, 'nothing was written by the CPU'


@needs_graphs
@pytest.mark.parametrize(
    'step', ['cuStreamBeginCapture', 'cuStreamEndCapture', 'cuGraphInstantiate']
)
def test_where_a_graph_is_refused_runs_go_on_without(
    plain: TensorRtEngine, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'perception_ros')
    expected = run(plain, images('red'))
    request = plain.request()
    request.images[:1] = images('red')
    a_run(request, 1)
    DRIVER.fail(step, 900)  # CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    for _ in range(2):
        request.start(1)
        for name, array in request.result().items():
            np.testing.assert_array_equal(array, expected[name])
    assert f'without CUDA graphs: {step}' in caplog.text
    assert caplog.text.count('without CUDA graphs') == 1
    request.release()


FAILING = ['cuMemcpyHtoDAsync', 'cuMemcpyDtoHAsync', 'cuEventRecord', 'cuEventSynchronize']


@pytest.mark.parametrize('step', [*FAILING, *(['cuGraphLaunch'] if GRAPHS else [])])
def test_an_error_of_a_run_comes_from_result_and_leaves_the_slot_usable(
    plain: TensorRtEngine, step: str
) -> None:
    plain.warm_up()
    expected = run(plain, images('blue', 'red'))
    if step == 'cuMemcpyDtoHAsync':  # it is part of a graph otherwise
        plain._plan.captures = False
        for slot in plain._slots:
            slot.close()
    request = plain.request()
    request.images[:2] = images('red', 'red')
    DRIVER.fail(step, 700)
    DRIVER.calls()
    request.start(2)
    if step in ('cuMemcpyDtoHAsync', 'cuGraphLaunch'):
        assert DRIVER.calls()[-2:] == [step, 'cuStreamSynchronize'], 'before its context is freed'
    for _ in range(2):
        with pytest.raises(BackendError, match='on a batch of 2.*(ILLEGAL_ADDRESS|error 700)'):
            request.result()
    for _ in range(3):  # prepared, captured and replayed anew
        request.images[:2] = images('blue', 'red')
        request.start(2)
        for name, array in request.result().items():
            np.testing.assert_array_equal(array, expected[name], err_msg=name)
    request.release()


def test_whoever_waits_lets_python_go_on(plain: TensorRtEngine) -> None:
    request = plain.request()
    request.start(1)
    DRIVER.slow_down(0.2)
    try:
        waiter = threading.Thread(target=request.result)
        waiter.start()
        beats = 0
        while waiter.is_alive():
            time.sleep(0.005)
            beats += 1
        assert beats > 10
    finally:
        DRIVER.slow_down(0)
    request.release()


def test_closing_frees_what_nobody_uses_and_the_last_release_the_rest(bundle: Bundle) -> None:
    engine = open_engine(bundle, 'tensorrt', EngineOptions(max_batch=2))
    request = engine.request()
    request.images[:1] = images('green')
    request.start(1)
    outputs = request.result()
    engine.close()
    assert DRIVER.alive, 'the outputs are still in use'
    assert outputs['scores'].max() > 0
    request.release()
    assert DRIVER.alive == 0


@pytest.mark.parametrize(
    'step', ['cuMemAlloc', 'cuMemHostAlloc', 'cuStreamCreate', 'cuEventCreate']
)
def test_an_engine_that_cannot_be_made_leaves_nothing(bundle: Bundle, step: str) -> None:
    DRIVER.fail(step, 700)
    with pytest.raises(BackendError, match='ILLEGAL_ADDRESS|error 700'):
        open_engine(bundle, 'tensorrt')


def test_a_plan_that_cannot_be_loaded_is_refused(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Bundle, 'graph_path', tmp_path / 'plan')
    (tmp_path / 'plan').write_bytes(b'nothing')
    with pytest.raises(BackendError, match=r'cannot load the plan: not a plan.*built anew'):
        open_engine(bundle, 'tensorrt')


def test_without_a_compiler_images_are_letterboxed_on_the_cpu(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none(*arguments: object) -> bytes:
        raise BackendError('no NVRTC')

    monkeypatch.setattr(engine_module, 'compile_cubin', none)
    image = noise('bgr8', 150, 90)
    letterbox, expected = placed(image)
    with open_engine(bundle, 'tensorrt') as engine:
        request = engine.request()
        request.write(0, image, letterbox)
        np.testing.assert_array_equal(request.images[0], expected)
        request.start(1)
        mask = request.result()['semantic_ground'][0]
        np.testing.assert_array_equal(mask, strongest(expected))
        request.release()
    assert 'letterboxed on the CPU: no NVRTC' in caplog.text


def test_the_inspector_s_report_is_there_while_the_engine_is_open(plain: TensorRtEngine) -> None:
    report = plain.report()
    assert report['layers'] == ['all of it']
    assert 'images' in report['tensors']
    plain.close()
    with pytest.raises(BackendError, match='closed'):
        plain.report()


def test_the_gpu_says_what_it_is(bundle: Bundle) -> None:
    gpu = open_gpu()
    assert (gpu.name, gpu.capability, gpu.cuda_version) == ('a double', (8, 6), (13, 0))
    assert os.environ['PERCEPTION_ROS_CUDA'] in gpu.package
    with pytest.raises(BackendError, match='cuda:1: expected an index below 1'):
        open_gpu(1)


def test_a_call_outside_of_the_context_is_an_error() -> None:
    gpu = open_gpu()
    with pytest.raises(BackendError, match='INVALID_CONTEXT|error 201'):
        gpu.allocate(1)
