"""What the Triton backend does beyond the contract: its memory, and batches that are shared."""

from __future__ import annotations

import logging
from pathlib import Path
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from perception_ros.backends import open_engine
from perception_ros.backends.triton.engine import TritonEngine
from perception_ros.backends.triton.memory import FOLDER
from perception_ros.backends.triton.repository import write_repository
from perception_ros.bundles.bundle import Bundle
from test.backends.triton.helpers import batches, options, PATIENT, registered, scores
from test.backends.triton.process import ROOT, ServerProcess
from test.builders import picture

OPEN_AND_WAIT = """
import sys, time
from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
engine = open_engine(Bundle.load(sys.argv[1]), 'triton', EngineOptions(server=sys.argv[2]))
print('open', flush=True)
time.sleep(60)
"""


def test_the_server_reads_and_writes_the_slots_memory_in_place(
    server: ServerProcess, bundle: Bundle
) -> None:
    with TritonEngine(bundle, options(server)) as engine:
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
        warm_up, shared = [1, 4], [4]
        assert batches(server) == warm_up + shared


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
        assert batches(server) == [1, 4, 2]
        assert len(waiting.result()['scores']) == 3
        waiting.release()
