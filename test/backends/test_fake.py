"""The engine that takes its time: measurements of all that is around one rest on it."""

from __future__ import annotations

from pathlib import Path
import threading
import time

import numpy as np
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.backends.base import Engine
from perception_ros.bundles import Bundle
from test.builders import fake_bundle, write_real_bundle

CALL_MS = 50.0


@pytest.fixture
def engine() -> Engine:
    options = EngineOptions(max_batch=4, fake_duration_ms=CALL_MS)
    return open_engine(fake_bundle(), 'fake', options)


def test_it_says_the_same_of_every_image(engine: Engine) -> None:
    with engine:
        request = engine.request()
        request.images[:3] = np.random.default_rng(1).integers(0, 255, request.images[:3].shape)
        request.start(3)
        outputs = request.result()
        assert outputs['boxes'].shape == (3, 8, 4)
        assert (outputs['boxes'][:, 0] == (24, 16, 72, 48)).all(), 'the middle of 96 x 64'
        assert ((outputs['scores'] > 0) == np.eye(1, 8, dtype=bool)).all()
        assert outputs['semantic_ground'].shape == (3, 64, 96)
        request.release()


def test_a_call_takes_its_time_and_lets_others_run(engine: Engine) -> None:
    """It stands in for a GPU: one that held the GIL would measure Python's waiting."""
    counted = 0

    def count() -> None:
        nonlocal counted
        while not done.is_set():
            counted += 1

    done = threading.Event()
    other = threading.Thread(target=count)
    with engine:
        request = engine.request()
        other.start()
        begun, cpu = time.perf_counter(), time.thread_time()
        request.start(4)
        request.result()
        took_s = time.perf_counter() - begun
        done.set()
        other.join()
        request.release()
    assert took_s >= CALL_MS / 1e3
    assert counted > 1000, 'another thread has run meanwhile'
    assert time.thread_time() - cpu < 0.5 * CALL_MS / 1e3


def test_it_has_every_output_that_the_bundle_promises(tmp_path: Path) -> None:
    masks = {'width': 16, 'height': 16}
    classes = [{'name': 'one', 'color': (1, 2, 3)}]
    detection = {
        'classes': classes, 'max_detections': 8, 'score_threshold': 0.3, 'masks': masks,
    }
    bundle: Bundle = write_real_bundle(tmp_path / 'means', detection=detection)
    options = EngineOptions(max_batch=2, fake_duration_ms=1.0)
    with open_engine(bundle, 'fake', options) as engine:
        engine.warm_up()
        request = engine.request()
        request.start(2)
        assert request.result()['masks'].shape == (2, 8, 16, 16)
        request.release()
