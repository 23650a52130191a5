"""What the Triton backend does beyond the contract: memory, and all that a server can do to it."""

from __future__ import annotations

from collections.abc import Iterator
import logging
from pathlib import Path
import resource
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient

from perception_ros.backends import Engine, EngineOptions, load_backend, open_engine
from perception_ros.backends.triton import engine as triton
from perception_ros.backends.triton.memory import FOLDER
from perception_ros.backends.triton.repository import Serving, write_repository
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from test.backends.triton.process import ROOT, ServerProcess
from test.builders import manifest, picture, write_real_bundle

SERVING = Serving(max_batch=4, queue_timeout_ms=0)
PATIENT = Serving(max_batch=4, queue_timeout_ms=0, queue_delay_us=10**6)
TOO_LATE_MS = 500

OPEN_AND_WAIT = """
import sys, time
from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
engine = open_engine(Bundle.load(sys.argv[1]), 'triton', EngineOptions(server=sys.argv[2]))
print('open', flush=True)
time.sleep(60)
"""


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(scope='module')
def repository(tmp_path_factory: pytest.TempPathFactory, bundle: Bundle) -> Path:
    path = tmp_path_factory.mktemp('served') / 'models'
    write_repository(path, [bundle], SERVING)
    return path


@pytest.fixture(scope='module')
def server(repository: Path) -> Iterator[ServerProcess]:
    """A server that lets clients use shared memory, and is only asked."""
    with ServerProcess(repository) as process:
        yield process


@pytest.fixture(params=['shared memory', 'messages'])
def fragile(
    request: pytest.FixtureRequest, tmp_path: Path, bundle: Bundle
) -> Iterator[ServerProcess]:
    """A server for one test, which may do to it, and to what it serves, whatever it likes."""
    write_repository(tmp_path / 'models', [bundle], SERVING)
    with ServerProcess(tmp_path / 'models', shared=request.param == 'shared memory') as process:
        yield process


def with_masks(path: Path) -> Bundle:
    """Write a bundle with the name of the others and one more output."""
    detection = manifest().detection
    assert detection
    return write_real_bundle(
        path, detection={**detection.model_dump(), 'masks': {'height': 3, 'width': 5}}
    )


def options(server: ServerProcess, **changes: Any) -> EngineOptions:
    return EngineOptions(server=server.address, **{'max_batch': 4, **changes})


def scores(engine: Engine, *colours: str) -> np.ndarray:
    """Return the scores of full pictures of these colours: 1 for the class of the colour."""
    request = engine.request()
    try:
        for index, colour in enumerate(colours):
            request.images[index] = picture(96, 64, **{colour: (0, 0, 96, 64)})
        request.start(len(colours))
        return request.result()['scores'][:, :3].copy()
    finally:
        request.release()


def recover(engine: Engine, *colours: str) -> np.ndarray:
    """Return the scores as soon as there are some again."""
    until = time.monotonic() + 20
    while True:
        try:
            return scores(engine, *colours)
        except BackendError:
            assert time.monotonic() < until
            time.sleep(0.05)


def registered(server: ServerProcess) -> set[str]:
    with InferenceServerClient(server.address) as client:
        return set(client.get_system_shared_memory_status().regions)


def test_the_server_reads_and_writes_the_slots_memory_in_place(
    server: ServerProcess, bundle: Bundle
) -> None:
    with triton.TritonEngine(bundle, options(server)) as engine:
        request = engine.request()
        name = request.region.name  # type: ignore[attr-defined]
        mapped = np.memmap(FOLDER / name, np.uint8, 'r')
        request.images[:2] = 7
        assert mapped[: request.images[:2].nbytes].min() == 7
        request.start(2)
        outputs = request.result()
        np.testing.assert_allclose(outputs['scores'][:, :3], 7 / 255, 1e-5)
        names = registered(server)
        assert name in names and len(names) == 4, 'images and outputs of two slots'
        whole = [np.memmap(FOLDER / name, np.uint8, 'r') for name in names]
        written = [memory for memory in whole if outputs['scores'].tobytes() in memory.tobytes()]
        assert len(written) == 1
        request.release()
    assert not registered(server)
    assert not [name for name in names if (FOLDER / name).exists()]


def test_outputs_outlive_the_engine_until_they_are_released(
    server: ServerProcess, bundle: Bundle
) -> None:
    engine = open_engine(bundle, 'triton', options(server))
    request = engine.request()
    request.images[:1] = 255
    request.start(1)
    outputs = request.result()
    engine.close()
    assert outputs['scores'][0, 0] == 1


def test_what_a_dead_client_left_behind_is_removed_and_what_a_living_one_uses_is_not(
    server: ServerProcess, bundle: Bundle
) -> None:
    with open_engine(bundle, 'triton', options(server)) as living:
        kept = registered(server)
        dying = subprocess.Popen(
            [sys.executable, '-c', OPEN_AND_WAIT, str(bundle.path), server.address],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        assert dying.stdout and dying.stdout.readline() == 'open\n'
        left = registered(server) - kept
        dying.kill()
        dying.communicate()
        assert len(left) == 4 and all((FOLDER / name).exists() for name in left)
        with open_engine(bundle, 'triton', options(server)) as third:
            assert scores(third, 'red')[0, 0] == 1
            assert not left & registered(server) and kept < registered(server)
        assert not [name for name in left if (FOLDER / name).exists()]
        assert scores(living, 'green')[0, 1] == 1


def test_too_little_shared_memory_costs_a_line_in_the_log(
    server: ServerProcess, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        engine = open_engine(bundle, 'triton', options(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with engine:
        assert not registered(server)
        assert [record.message for record in caplog.records] == [
            'images travel in messages, not in shared memory: [Errno 27] File too large'
        ]
        assert scores(engine, 'red', 'blue').tolist() == [[1, 0, 0], [0, 0, 1]]


def test_a_server_that_refuses_shared_memory_costs_a_line_in_the_log(
    repository: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """As Triton does from 26.04 on, unless it is told otherwise."""
    with (
        ServerProcess(repository, shared=False) as server,
        open_engine(bundle, 'triton', options(server)) as engine,
    ):
        for _ in range(2):
            assert scores(engine, 'red', 'blue').tolist() == [[1, 0, 0], [0, 0, 1]]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert 'images travel in messages' in record.message
    assert "Start the server with '--allow-client-shm=true'" in record.message


def test_requests_of_several_slots_share_a_batch_and_get_their_own_answers(
    tmp_path: Path, bundle: Bundle
) -> None:
    """The server waits for a full batch as long as config.pbtxt lets it."""
    write_repository(tmp_path / 'models', [bundle], PATIENT)
    with (
        ServerProcess(tmp_path / 'models') as server,
        open_engine(bundle, 'triton', options(server)) as engine,
    ):
        first, second = engine.request(), engine.request()
        for request, colour in ((first, 'red'), (second, 'blue')):
            request.images[:2] = picture(96, 64, **{colour: (0, 0, 96, 64)})
            request.start(2)
        assert first.result()['scores'][:, :3].tolist() == [[1, 0, 0]] * 2
        assert second.result()['scores'][:, :3].tolist() == [[0, 0, 1]] * 2
        with InferenceServerClient(server.address) as client:
            statistics = client.get_inference_statistics('means').model_stats[0]
        warm_up, shared = [1, 4], [4]
        assert [item.batch_size for item in statistics.batch_stats] == warm_up + shared


def test_a_request_of_higher_priority_overtakes_one_that_waits(
    tmp_path: Path, bundle: Bundle
) -> None:
    """Both do not fit into one batch; what is left waits for others until its delay is over."""
    write_repository(tmp_path / 'models', [bundle], PATIENT)
    with (
        ServerProcess(tmp_path / 'models') as server,
        open_engine(bundle, 'triton', options(server)) as low,
        open_engine(bundle, 'triton', options(server, server_priority=1)) as high,
    ):
        waiting = low.request()
        waiting.start(3)
        time.sleep(0.2)
        assert scores(high, 'red', 'blue').tolist() == [[1, 0, 0], [0, 0, 1]]
        with InferenceServerClient(server.address) as client:
            statistics = client.get_inference_statistics('means').model_stats[0]
        assert [item.batch_size for item in statistics.batch_stats] == [1, 4, 2]
        assert len(waiting.result()['scores']) == 3
        waiting.release()


def test_no_server_is_a_clear_error(bundle: Bundle) -> None:
    with pytest.raises(BackendError, match='no Triton server answers at localhost:1: .*refused'):
        open_engine(bundle, 'triton', EngineOptions(server='localhost:1'))


def test_doctor_is_told_that_no_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton, 'LOCAL', 'localhost:1')
    with pytest.raises(BackendError, match='name yours with the parameter server'):
        load_backend('triton').probe()


def test_a_server_that_hangs_is_a_clear_error(fragile: ServerProcess, bundle: Bundle) -> None:
    fragile.stop()
    with pytest.raises(BackendError, match='no Triton server answers at .*(Deadline|timed out)'):
        open_engine(bundle, 'triton', options(fragile, server_timeout_ms=TOO_LATE_MS))


def test_a_model_that_is_not_there_is_a_clear_error(
    server: ServerProcess, tmp_path: Path
) -> None:
    other = write_real_bundle(tmp_path / 'other', name='other')
    with pytest.raises(BackendError, match=r"model other: no such model, only \['means'\]; write"):
        open_engine(other, 'triton', options(server))


def test_a_model_that_does_not_load_is_told_with_the_reason(
    tmp_path: Path, bundle: Bundle
) -> None:
    write_repository(tmp_path / 'models', [bundle], SERVING)
    (tmp_path / 'models' / 'means' / '1' / 'model.onnx').write_bytes(b'no graph')
    with (
        ServerProcess(tmp_path / 'models') as server,
        pytest.raises(BackendError, match='model means: it is UNAVAILABLE; .*model.onnx'),
    ):
        open_engine(bundle, 'triton', options(server))


def test_another_model_of_the_same_name_is_a_clear_error(
    server: ServerProcess, tmp_path: Path
) -> None:
    other = with_masks(tmp_path / 'means')
    expected = r"output 'masks': expected float32 \[B, 8, 3, 5\], got none"
    with pytest.raises(BackendError, match=f'not the model of this bundle: {expected}'):
        open_engine(other, 'triton', options(server))


def test_another_graph_of_the_same_shapes_is_a_clear_error(
    server: ServerProcess, bundle: Bundle
) -> None:
    graph = bundle.manifest.graph.model_copy(update={'sha256': 'f' * 64})
    other = Bundle(bundle.path, bundle.manifest.model_copy(update={'graph': graph}))
    with pytest.raises(BackendError, match='expected the graph with SHA-256 fff.*, got '):
        open_engine(other, 'triton', options(server))


@pytest.mark.parametrize(
    ('changes', 'says'),
    [
        ({'device': 'gpu'}, "device 'gpu' is wanted, but the server runs it on cpu"),
        ({'server_priority': 3}, 'server_priority 3 is wanted, but it has 2 priority levels'),
    ],
    ids=['device', 'priority'],
)
def test_what_the_server_cannot_give_is_a_clear_error(
    server: ServerProcess, bundle: Bundle, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(BackendError, match=says):
        open_engine(bundle, 'triton', options(server, **changes))


def test_the_greatest_batch_is_what_the_server_takes(
    server: ServerProcess, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    with open_engine(bundle, 'triton', options(server, max_batch=6)) as engine:
        assert engine.info.max_batch == 4
        engine.warm_up()
    assert 'max_batch 6: the server takes means in batches of at most 4' in caplog.text


def test_a_server_that_dies_costs_its_batches_and_is_used_again_when_it_is_back(
    fragile: ServerProcess, bundle: Bundle
) -> None:
    with open_engine(bundle, 'triton', options(fragile)) as engine:
        request = engine.request()
        fragile.stop()
        request.start(2)
        fragile.kill()
        with pytest.raises(BackendError, match=f'Triton at {fragile.address}: '):
            request.result()
        request.release()
        for _ in range(3):
            with pytest.raises(BackendError, match=f'at {fragile.address}: '):
                scores(engine, 'red')
        fragile.start()
        recover(engine, 'red')
        slots = [engine.request(), engine.request()]
        for value, slot in enumerate(slots, 1):
            slot.images[:3] = value
            slot.start(3)
        for value, slot in enumerate(slots, 1):
            np.testing.assert_allclose(slot.result()['scores'][:, :3], value / 255, 1e-5)
            slot.release()


def test_an_answer_that_comes_too_late_does_no_harm(
    fragile: ServerProcess, bundle: Bundle
) -> None:
    """The server goes on with the old request while the slot has a new one."""
    settings = options(fragile, server_timeout_ms=TOO_LATE_MS)
    with open_engine(bundle, 'triton', settings) as engine:
        other, request = engine.request(), engine.request()
        fragile.stop()
        request.images[:4] = 200
        request.start(4)
        with pytest.raises(BackendError, match='did not answer within 500 ms; .*server_timeout'):
            request.result()
        request.release()
        fragile.go_on()
        for value in range(1, 20):
            request = engine.request()
            request.images[:1] = value
            request.start(1)
            np.testing.assert_allclose(request.result()['scores'][0, :3], value / 255, 1e-5)
            request.release()
        other.release()


def test_a_server_that_comes_back_with_another_model_is_not_believed(
    fragile: ServerProcess, tmp_path: Path, bundle: Bundle
) -> None:
    other = with_masks(tmp_path / 'other')
    with open_engine(bundle, 'triton', options(fragile)) as engine:
        assert scores(engine, 'red')[0, 0] == 1
        fragile.kill()
        write_repository(fragile.repository, [other], SERVING, overwrite=True)
        fragile.start()
        told = []
        for _ in range(10):
            try:
                scores(engine, 'red')
            except BackendError as error:
                told.append(str(error))
            time.sleep(0.1)
        assert any('not the model of this bundle' in message for message in told)


def test_closing_leaves_no_memory_behind_when_the_server_is_gone(
    fragile: ServerProcess, bundle: Bundle
) -> None:
    engine = triton.TritonEngine(bundle, options(fragile))
    request = engine.request()
    name = request.region.name  # type: ignore[attr-defined]
    request.release()
    fragile.kill()
    assert (FOLDER / name).exists()
    engine.close()
    assert not (FOLDER / name).exists()
