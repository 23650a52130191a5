"""Which of two backends serves, when they change, and what is said about it."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.backends.base import Engine, Outputs
from perception_ros.backends.fallback import FAILURES
from perception_ros.core.errors import BackendError
from test.builders import fake_bundle
from test.device import Device, wait_until, WatchedEngine

OPTIONS = EngineOptions(max_batch=3)


def opened(**how: object) -> Engine:
    return open_engine(fake_bundle(), 'device', OPTIONS, **{'fallback': 'fake', **how})  # type: ignore


def run(engine: Engine) -> Outputs | None:
    """Run one image as the pipeline does: a failure costs the frame, the slot is given back."""
    request = engine.request()
    request.images[...] = 0
    request.start(1)
    try:
        return dict(request.result())
    except BackendError:
        return None
    finally:
        request.release()


def served_by(engine: Engine) -> type[Engine]:
    return type(engine.serving)  # type: ignore[attr-defined]


def test_the_preferred_backend_serves_while_it_works(device: Device) -> None:
    with opened() as engine:
        assert engine.degradation is None
        assert run(engine)
        assert sum(device.engines[0].calls) == 1 + 3 + 1, 'warmed up, and used'


def test_a_backend_that_cannot_be_opened_is_stood_in_for(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.refuses = 'no such GPU'
    with opened() as engine:
        assert run(engine)
        assert engine.degradation
        assert engine.degradation.reason == 'device cannot be opened: no such GPU'
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert 'bundle colours: device cannot be opened: no such GPU' in record.getMessage()
    assert 'going on with fake' in record.getMessage()


def test_a_backend_that_cannot_run_its_greatest_batch_counts_as_not_opened(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    def greedy(self: WatchedEngine, images: np.ndarray) -> Outputs:
        raise BackendError(f'no memory for {len(images)} images')

    monkeypatch.setattr(WatchedEngine, '_run', greedy)
    with opened() as engine:
        assert device.engines[0].closed == 1
        assert engine.degradation
        assert 'no memory for 1 images' in engine.degradation.reason


def test_both_reasons_are_told_if_the_fallback_cannot_be_opened_either(device: Device) -> None:
    device.refuses = 'no such GPU'
    with pytest.raises(BackendError, match='no such GPU. Its fallback onnxruntime: .*model.onnx'):
        opened(fallback='onnxruntime')


@pytest.mark.parametrize('backends', [('device', 'abacus'), ('abacus', 'fake')])
def test_a_name_that_is_no_backend_is_refused_before_anything_is_opened(
    device: Device, backends: tuple[str, str]
) -> None:
    with pytest.raises(BackendError, match="backend 'abacus': expected auto, tensorrt"):
        open_engine(fake_bundle(), backends[0], OPTIONS, fallback=backends[1])
    assert not device.asked_for


def test_failures_in_a_row_bring_in_the_fallback_once(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    with opened() as engine:
        device.engines[0].fails = True
        for _ in range(FAILURES):
            assert engine.info.backend == 'device' and not run(engine)
        wait_until(lambda: served_by(engine) is not WatchedEngine)
        assert run(engine)
        assert engine.degradation
        assert engine.degradation.reason == (
            f'device failed {FAILURES} times in a row: the device is gone'
        )
        wait_until(lambda: device.engines[0].closed == 1)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 2, said
    assert 'device failed 3 times in a row: the device is gone; opening fake' in said[0]
    assert 'fake on cpu serves from now on' in said[1]
    assert device.asked_for == ['auto'], 'the preferred one is not tried again'


def test_the_fallback_takes_the_batches_that_the_failing_engine_took(device: Device) -> None:
    """A server may take fewer than was asked for, and the pipeline makes its batches for that."""
    device.greatest_batch = 2
    with opened() as engine:
        assert engine.info.max_batch == 2
        device.engines[0].fails = True
        for _ in range(FAILURES):
            run(engine)
        wait_until(lambda: served_by(engine) is not WatchedEngine)
        assert engine.info.max_batch == 2


def test_a_preferred_engine_for_smaller_batches_does_not_come_in_later(device: Device) -> None:
    device.greatest_batch = 2
    with opened(background=True) as engine:
        wait_until(lambda: 'set max_batch to the smaller' in str(engine.degradation))
        assert run(engine)


def test_failures_with_successes_between_them_change_nothing(device: Device) -> None:
    with opened() as engine:
        for n in range(5 * FAILURES):
            device.engines[0].fails = n % FAILURES != 0
            run(engine)
        assert engine.degradation is None
        assert served_by(engine) is WatchedEngine


def test_the_failing_engine_stays_if_its_fallback_cannot_be_opened(device: Device) -> None:
    """Frames go on being tried: the device may come back, and there is nothing better."""
    with opened(fallback='onnxruntime') as engine:
        device.engines[0].fails = True
        for _ in range(FAILURES):
            run(engine)
        wait_until(lambda: 'onnxruntime cannot be opened' in str(engine.degradation))
        assert 'device failed 3 times in a row' in str(engine.degradation)
        device.engines[0].fails = False
        assert run(engine)


def test_the_fallback_has_a_device_of_its_own(device: Device) -> None:
    with open_engine(
        fake_bundle(), 'fake', OPTIONS, fallback='device', fallback_device='cpu', background=True
    ):
        assert device.asked_for == ['cpu']


def test_the_fallback_serves_while_the_preferred_backend_is_opened(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, 'perception_ros')
    device.ready.clear()
    with opened(background=True) as engine:
        assert run(engine)
        assert engine.degradation
        assert engine.degradation.reason == 'device is being opened in the background'
        device.ready.set()
        wait_until(lambda: served_by(engine) is WatchedEngine)
        assert run(engine)
        assert engine.degradation is None
        wait_until(lambda: 'bundle colours: device on cpu serves from now on' in caplog.messages)


def test_the_fallback_goes_on_if_the_background_fails(
    device: Device, caplog: pytest.LogCaptureFixture
) -> None:
    device.refuses = 'the graph holds NonZero'
    with opened(background=True) as engine:
        wait_until(lambda: 'cannot be opened' in str(engine.degradation))
        assert run(engine)
    assert 'device cannot be opened: the graph holds NonZero; going on with fake' in caplog.text


def test_what_was_opened_in_the_background_falls_back_too(device: Device) -> None:
    with opened(background=True) as engine:
        wait_until(lambda: engine.degradation is None)
        device.engines[0].fails = True
        for _ in range(FAILURES):
            run(engine)
        wait_until(lambda: served_by(engine) is not WatchedEngine)
        assert run(engine)


@pytest.mark.parametrize('refuses', ['', 'out of memory'], ids=['opens', 'fails'])
def test_closing_does_not_wait_for_the_background_and_nothing_is_left_of_it(
    device: Device, refuses: str, caplog: pytest.LogCaptureFixture
) -> None:
    device.ready.clear()
    device.refuses = refuses
    engine = opened(background=True)
    [opening] = [thread for thread in threading.enumerate() if thread.name == 'open device']
    engine.close()
    assert opening.is_alive()
    device.ready.set()
    opening.join(5)
    assert not opening.is_alive()
    assert all((late.closed, late.calls) == (1, []) for late in device.engines)
    assert not caplog.records, 'nobody cares any more'


def test_auto_may_have_a_fallback() -> None:
    with open_engine(fake_bundle(), 'auto', OPTIONS, fallback='fake') as engine:
        reason = str(engine.degradation)
        assert 'auto cannot be opened: backend auto: none works here' in reason
        assert '\n' not in reason, 'it becomes a line of the log and of the diagnostics'
