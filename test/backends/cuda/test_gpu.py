"""The seam on a real GPU: `pytest -m gpu` on a machine that has one."""

from __future__ import annotations

from collections.abc import Iterator
import threading

import numpy as np
import pytest

from perception_ros.backends.cuda import Gpu, open_gpu, PACKAGES, VARIABLE
from perception_ros.backends.cuda.letterbox import BLOCK, CameraImage, grid, KERNEL, SOURCE
from perception_ros.backends.cuda.nvrtc import compile_cubin
from perception_ros.core.encodings import LAYOUTS
from perception_ros.core.errors import BackendError, NotInstalledError
from perception_ros.core.letterbox import Letterbox
from test.backends.cuda.test_letterbox import noise, POLICIES, Run, run  # noqa: F401  (a fixture)

pytestmark = pytest.mark.gpu


@pytest.fixture(params=list(PACKAGES))
def gpu(request: pytest.FixtureRequest) -> Iterator[Gpu]:
    try:
        opened = open_gpu(environment={VARIABLE: request.param})
    except NotInstalledError as error:
        pytest.skip(f'needs a runtime: {error}')
    with opened.current():
        yield opened
    opened.close()


def test_it_says_what_it_is(gpu: Gpu) -> None:
    assert gpu.name and gpu.capability >= (5, 0) and gpu.cuda_version >= (12, 0)


def test_bytes_come_back_as_they_went(gpu: Gpu) -> None:
    there = gpu.page_locked((1000, 1000), np.uint8)
    back = gpu.page_locked((1000, 1000), np.uint8)
    there[...] = np.random.default_rng(0).integers(0, 256, there.shape)
    address, stream, event = gpu.allocate(there.nbytes), gpu.stream(), gpu.event()
    gpu.upload(address, there, stream)
    gpu.download(back, address, stream)
    gpu.record(event, stream)
    gpu.wait(event)
    np.testing.assert_array_equal(there, back)


def test_a_graph_does_its_work_when_it_is_replayed_and_not_before(gpu: Gpu) -> None:
    there, back = gpu.page_locked((100,), np.uint8), gpu.page_locked((100,), np.uint8)
    address, stream = gpu.allocate(100), gpu.stream()
    back[...] = 0

    def work() -> None:
        gpu.upload(address, there, stream)
        gpu.download(back, address, stream)

    if gpu.package.startswith('pycuda'):
        with pytest.raises(BackendError, match='no CUDA graphs'):
            gpu.capture(stream, work)
        return
    graph = gpu.capture(stream, work)
    gpu.synchronize(stream)
    assert not back.any()
    for value in (7, 9):
        there[...] = value
        gpu.replay(graph, stream)
        gpu.synchronize(stream)
        assert (back == value).all()


def test_a_capture_that_fails_leaves_the_stream_usable(gpu: Gpu) -> None:
    stream, host = gpu.stream(), gpu.page_locked((8,), np.uint8)

    def fail() -> None:
        raise BackendError('refused')

    with pytest.raises(BackendError):
        gpu.capture(stream, fail)
    gpu.upload(gpu.allocate(8), host, stream)
    gpu.synchronize(stream)


def test_one_thread_may_wait_for_what_another_began(gpu: Gpu) -> None:
    host, back = gpu.page_locked((1 << 24,), np.uint8), gpu.page_locked((1 << 24,), np.uint8)
    host[...] = 5
    address, stream, event = gpu.allocate(host.nbytes), gpu.stream(), gpu.event()
    gpu.upload(address, host, stream)
    gpu.download(back, address, stream)
    gpu.record(event, stream)
    seen: list[bool] = []

    def wait() -> None:
        with gpu.current():
            gpu.wait(event)
        seen.append(bool((back == 5).all()))

    waiter = threading.Thread(target=wait)
    waiter.start()
    waiter.join(30)
    assert seen == [True]


def test_more_memory_than_there_is_is_refused_by_name(gpu: Gpu) -> None:
    with pytest.raises(BackendError, match='OUT_OF_MEMORY|out of memory'):
        gpu.allocate(1 << 50)


@pytest.mark.parametrize('encoding', sorted(LAYOUTS))
def test_the_kernel_gives_the_very_bytes_that_its_source_gives_on_a_cpu(
    gpu: Gpu, run: Run, encoding: str  # noqa: F811
) -> None:
    kernel = gpu.load(
        compile_cubin(SOURCE.read_text('utf-8'), gpu.capability, gpu.cuda_version[0]), KERNEL
    )
    stream = gpu.stream()
    out = gpu.page_locked((480, 640, 3), np.uint8)
    target = gpu.allocate(out.nbytes)
    for seed, policy in enumerate(POLICIES):
        image = noise(encoding, 1280, 722, padding=11 * seed, seed=seed)
        letterbox = Letterbox.fit((image.width, image.height), (640, 480), policy)
        source = CameraImage(image)
        staged = gpu.page_locked(source.data.shape, np.uint8)
        staged[...] = source.data
        address = gpu.allocate(staged.nbytes)
        gpu.upload(address, staged, stream)
        job = source.job(address, target, letterbox)
        gpu.launch(kernel, grid(letterbox), BLOCK, bytes(job), stream)
        gpu.download(out, target, stream)
        gpu.synchronize(stream)
        np.testing.assert_array_equal(out, run(image, letterbox))
