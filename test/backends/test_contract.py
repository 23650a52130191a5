"""One test-suite for every backend: what the pipeline relies on, whatever runs underneath."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
import re
import threading
import time

import numpy as np
import pytest

from perception_ros.backends import (
    Backend,
    BACKENDS,
    Engine,
    EngineOptions,
    load_backend,
    open_engine,
)
from perception_ros.backends.switching import SwitchingEngine
from perception_ros.backends.triton.repository import Serving, write_repository
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox
from test.backends.here import marked, open_here
from test.backends.triton.process import ServerProcess
from test.builders import picture, write_real_bundle

DOCUMENTED = 'reference'
"""The example of docs/backends.md."""

ALL = marked([*BACKENDS, DOCUMENTED])

EXCHANGED = 'exchanged'
"""ONNX Runtime, behind an engine that served with the fake one before."""

MESSAGES = 'triton, messages'
"""Triton without shared memory."""


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(autouse=True)
def example(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the documented backend, as whoever reads that page would."""
    page = Path(__file__).parents[2] / 'docs' / 'backends.md'
    block = re.search('```python\n(.*?)```', page.read_text(encoding='utf-8'), re.S)
    assert block
    folder = tmp_path_factory.mktemp('example')
    (folder / 'documented_backend.py').write_text(block[1], encoding='utf-8')
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(BACKENDS, DOCUMENTED, Backend('documented_backend', auto=False))


@pytest.fixture(scope='module')
def server(
    tmp_path_factory: pytest.TempPathFactory, bundle: Bundle
) -> Iterator[Callable[[str], str]]:
    """Return a function from the name of a backend to the address of a server for it."""
    repository = tmp_path_factory.mktemp('served') / 'models'
    write_repository(repository, [bundle], Serving(max_batch=4, queue_timeout_ms=0))
    with ExitStack() as stack:

        @cache
        def address(backend: str) -> str:
            if not backend.startswith('triton'):
                return ''
            process = ServerProcess(repository, shared=backend != MESSAGES)
            return stack.enter_context(process).address

        yield address


@pytest.fixture(params=[*ALL, EXCHANGED, MESSAGES])
def engine(
    request: pytest.FixtureRequest, bundle: Bundle, server: Callable[[str], str]
) -> Iterator[Engine]:
    name = request.param
    options = EngineOptions(max_batch=4, device='cpu', server=server(name))
    if name == EXCHANGED:
        switching = SwitchingEngine(open_engine(bundle, 'fake', options))
        switching.exchange(open_engine(bundle, 'onnxruntime', options))
        opened: Engine = switching
    else:
        opened = open_here(bundle, name.partition(',')[0], options)
    with opened:
        yield opened


def images(*colours: str) -> np.ndarray:
    return np.stack([picture(96, 64, **{colour: (20, 10, 60, 50)}) for colour in colours])


def run(engine: Engine, batch: np.ndarray) -> dict[str, np.ndarray]:
    request = engine.request()
    request.images[: len(batch)] = batch
    request.start(len(batch))
    outputs = {name: array.copy() for name, array in request.result().items()}
    request.release()
    return outputs


def test_it_says_what_it_is(engine: Engine) -> None:
    assert engine.info.max_batch == 4
    assert engine.info.input_size == (96, 64)
    assert engine.info.precision == 'fp32'
    assert re.fullmatch(r'cpu.*|cuda:0 \(.+\)', engine.info.device)


@pytest.mark.parametrize('n', [1, 2, 3, 4])
def test_outputs_have_the_shapes_and_types_of_the_contract(engine: Engine, n: int) -> None:
    outputs = run(engine, images(*['red'] * n))
    shapes = {name: (array.dtype.name, array.shape) for name, array in outputs.items()}
    assert shapes == {
        'boxes': ('float32', (n, 8, 4)),
        'scores': ('float32', (n, 8)),
        'labels': ('int32', (n, 8)),
        'semantic_ground': ('uint8', (n, 64, 96)),
    }


def test_each_image_gets_its_own_answer_at_every_batch_size(engine: Engine) -> None:
    """Batching must change nothing: a batch is its images, one by one."""
    batch = images('red', 'green', 'blue', 'green')
    together = run(engine, batch)
    for index in range(4):
        alone = run(engine, batch[index : index + 1])
        for name, array in alone.items():
            np.testing.assert_allclose(array[0], together[name][index], atol=1e-6, err_msg=name)
    differing = [n for n, a in together.items() if not np.array_equal(a[0], a[1])]
    assert differing, 'a red and a green rectangle must not look the same'


def test_a_camera_s_image_is_letterboxed_into_its_place(engine: Engine) -> None:
    """Beside one that is letterboxed already, and as the CPU's letterbox does it."""
    camera = np.ascontiguousarray(picture(150, 128, green=(0, 40, 150, 128))[..., ::-1])
    image = Image(camera.data, 'bgr8', 150, 128, 450)
    letterbox = Letterbox.fit((150, 128), engine.info.input_size)
    placed = np.zeros((64, 96, 3), np.uint8)
    letterbox.write(*image.pixels(), placed)
    beside = images('red')
    request = engine.request()
    request.write(1, image, letterbox)
    request.images[:1] = beside
    request.start(2)
    came = {name: array.copy() for name, array in request.result().items()}
    request.release()
    for name, array in run(engine, np.stack([beside[0], placed])).items():
        if array.dtype == np.uint8:  # an edge may lie one grey level beside
            assert (came[name] != array).mean() < 0.01, name
        else:
            np.testing.assert_allclose(came[name], array, atol=2 / 255, err_msg=name)


def test_a_slot_is_reused_without_traces_of_the_last_batch(engine: Engine) -> None:
    first = run(engine, images('red'))
    run(engine, images('blue', 'blue', 'blue', 'blue'))
    again = run(engine, images('red'))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name], err_msg=name)


def test_two_requests_are_in_flight_and_a_third_waits_for_a_slot(engine: Engine) -> None:
    first, second = engine.request(), engine.request()
    assert not np.shares_memory(first.images, second.images)
    third: list[object] = []
    waiter = threading.Thread(target=lambda: third.append(engine.request()))
    waiter.start()
    time.sleep(0.05)
    assert not third
    first.images[:1] = images('red')
    first.start(1)
    second.images[:1] = images('blue')
    second.start(1)
    assert first.result()['scores'][0, 0] > 0
    first.release()
    waiter.join(5)
    assert third == [first]
    first.release()
    second.release()


@pytest.mark.parametrize('n', [0, 5, -1])
def test_a_batch_that_does_not_fit_is_refused(engine: Engine, n: int) -> None:
    request = engine.request()
    with pytest.raises(ValueError, match=r'expected 1\.\.4'):
        request.start(n)
    request.release()


def test_result_before_start_is_an_error(engine: Engine) -> None:
    request = engine.request()
    with pytest.raises(BackendError, match='start'):
        request.result()
    request.release()


def test_a_failed_run_leaves_the_engine_usable(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise BackendError('out of memory')

    with monkeypatch.context() as patch:
        runs = engine.serving if isinstance(engine, SwitchingEngine) else engine
        patch.setattr(runs, '_run', fail)
        request = engine.request()
        request.start(1)
        with pytest.raises(BackendError, match='out of memory'):
            request.result()
        request.release()
    assert run(engine, images('red'))['scores'].max() > 0


def test_closing_waits_for_what_runs_and_refuses_what_comes(engine: Engine) -> None:
    request = engine.request()
    request.images[:1] = images('red')
    request.start(1)
    engine.close()
    engine.close()
    assert request.result()['scores'].max() > 0
    request.release()
    with pytest.raises(BackendError, match='closed'):
        engine.request()


def test_warm_up_leaves_all_slots_free(engine: Engine) -> None:
    engine.warm_up()
    for request in [engine.request(), engine.request()]:
        request.release()


@pytest.mark.parametrize('backend', ALL)
def test_it_says_what_would_run_here(
    backend: str, server: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('perception_ros.backends.triton.engine.LOCAL', server(backend))
    assert re.match(rf'{backend}\b.*: .*(cpu|cuda)', load_backend(backend).probe())


@pytest.mark.parametrize('backend', [name for name in ALL if name != 'fake'])
def test_a_device_that_it_does_not_know_is_refused_with_the_choices(
    bundle: Bundle, backend: str
) -> None:
    with pytest.raises(BackendError, match="device 'tpu': expected auto"):
        open_engine(bundle, backend, EngineOptions(device='tpu'))


def test_closing_frees_the_session(bundle: Bundle) -> None:
    """Cleanup and configure must not hold two engines on one GPU."""
    engine = open_engine(bundle, 'onnxruntime', EngineOptions(device='cpu'))
    engine.close()
    assert vars(engine)['_session'] is None


@pytest.mark.parametrize('backend', [name for name in ALL if name not in ('fake', 'triton')])
def test_a_graph_that_the_runtime_refuses_is_a_clear_error(
    bundle: Bundle, tmp_path: Path, backend: str
) -> None:
    (tmp_path / 'model.onnx').write_bytes(b'not a graph')
    broken = Bundle(tmp_path, bundle.manifest)
    with pytest.raises(BackendError, match='refuses .*model.onnx'):
        open_engine(broken, backend)
