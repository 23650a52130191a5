"""All that a server can do to the Triton backend: each a clear error, and good again after it."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import numpy as np
import pytest

from perception_ros.backends import EngineOptions, load_backend, open_engine
from perception_ros.backends.triton import engine as triton
from perception_ros.backends.triton.memory import FOLDER
from perception_ros.backends.triton.repository import write_repository
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from test.backends.triton.helpers import (
    options,
    PATIENT,
    recover,
    registered,
    scores,
    SERVING,
    with_masks,
)
from test.backends.triton.process import ServerProcess
from test.builders import write_real_bundle

TOO_LATE_MS = 500


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
    tmp_path: Path, bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    """The server still has the old request, and its memory, when the slot has a new one."""
    write_repository(tmp_path / 'models', [bundle], PATIENT)
    with (
        ServerProcess(tmp_path / 'models') as server,
        open_engine(bundle, 'triton', options(server, server_timeout_ms=TOO_LATE_MS)) as engine,
    ):
        request = engine.request()
        for value, pause_s in ((200, 0), (20, 0), (2, 1.0)):
            request.images[:] = value
            request.start(3)  # the server waits for a fourth
            with pytest.raises(BackendError, match='did not answer within 500 ms; .*_timeout_ms'):
                request.result()
            time.sleep(pause_s)
        for value in range(1, 20):
            request.images[:] = value
            request.start(4)
            np.testing.assert_allclose(request.result()['scores'][:, :3], value / 255, 1e-5)
        request.release()
        assert len(registered(server)) == 4
    assert not caplog.records, 'images are still in shared memory'


def test_a_server_that_hangs_for_a_while_is_used_again(
    fragile: ServerProcess, bundle: Bundle
) -> None:
    settings = options(fragile, server_timeout_ms=TOO_LATE_MS)
    with open_engine(bundle, 'triton', settings) as engine:
        fragile.stop()
        for _ in range(2):
            with pytest.raises(BackendError, match='did not answer within 500 ms'):
                scores(engine, 'red')
        fragile.go_on()
        assert recover(engine, 'blue').tolist() == [[0, 0, 1]]


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
