"""An engine that is exchanged while it runs: no slot is lost, nothing runs after its end."""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import gc
import threading
import weakref

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    RuleBasedStateMachine,
)
import pytest

from perception_ros.backends.base import Outputs, Request
from perception_ros.backends.slots import FutureSlot, SLOTS
from perception_ros.backends.switching import SwitchingEngine
from perception_ros.core.errors import BackendError
from perception_ros.core.letterbox import Letterbox
from test.builders import fake_bundle, frame, manifest
from test.device import BATCH, wait_until, WatchedEngine


@pytest.fixture
def first() -> WatchedEngine:
    return WatchedEngine()


@pytest.fixture
def engine(first: WatchedEngine) -> Iterator[SwitchingEngine]:
    with SwitchingEngine(first) as opened:
        yield opened


def run(request: Request, n: int = 1) -> Outputs:
    request.start(n)
    return request.result()


def wait_closed(engine: WatchedEngine) -> None:
    wait_until(lambda: engine.closed)
    assert engine.closed == 1


class Machine(RuleBasedStateMachine):
    """Random lives of an engine; whoever holds a request may do with it what the contract says."""

    held = Bundle('held')

    @initialize()
    def open(self) -> None:
        self.engines = [WatchedEngine()]
        self.engine = SwitchingEngine(self.engines[0])
        self.owners: dict[Request, WatchedEngine | None] = {}
        self.ended = False

    def is_used(self, engine: WatchedEngine) -> bool:
        return any(owner is engine for owner in self.owners.values())

    @precondition(lambda self: not self.ended and len(self.owners) < SLOTS)
    @rule(target=held)
    def request(self) -> Request:
        request = self.engine.request()
        assert request not in self.owners, 'one slot was given to two'
        self.owners[request] = None
        return request

    @precondition(lambda self: not self.ended)
    @rule(request=held, n=st.integers(1, BATCH))
    def start(self, request: Request, n: int) -> None:
        owner = self.owners[request] = self.owners[request] or self.engines[-1]
        request.images[:n] = 114
        calls = len(owner.calls)
        request.start(n)
        with contextlib.suppress(BackendError):
            request.result()
        assert owner.calls[calls:] == ([] if owner.fails else [n]), 'it runs where it was filled'

    @rule(request=held)
    def result(self, request: Request) -> None:
        try:
            outputs = request.result()
        except BackendError as error:
            assert 'start' in str(error) or 'device' in str(error)
        else:
            assert outputs['boxes'].shape[1:] == (8, 4)

    @rule(request=consumes(held))
    def release(self, request: Request) -> None:
        request.release()
        del self.owners[request]

    @rule(fails=st.booleans())
    def fail(self, fails: bool) -> None:
        self.engines[-1].fails = fails

    @precondition(lambda self: not self.ended)
    @rule()
    def exchange(self) -> None:
        self.engines.append(WatchedEngine())
        self.engine.exchange(self.engines[-1])

    @rule()
    def close(self) -> None:
        self.engine.close()
        self.ended = True

    @invariant()
    def engines_live_as_long_as_they_are_needed(self) -> None:
        for engine in getattr(self, 'engines', []):
            if self.ended or (engine is not self.engines[-1] and not self.is_used(engine)):
                wait_closed(engine)
            else:
                assert engine.closed == 0

    def teardown(self) -> None:
        if hasattr(self, 'engine'):
            self.close()
            assert all(engine.closed == 1 for engine in self.engines)


TestRandomLives = Machine.TestCase
TestRandomLives.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_request_in_hand_stays_with_its_engine(
    engine: SwitchingEngine, first: WatchedEngine
) -> None:
    request = engine.request()
    request.start(2)
    second = WatchedEngine()
    engine.exchange(second)
    assert len(request.result()['boxes']) == 2
    assert (first.calls, first.closed) == ([2], 0)
    request.release()
    wait_closed(first)
    run(engine.request())
    assert second.calls == [1]


def test_a_slot_survives_an_engine_that_cannot_take_its_own_back(
    engine: SwitchingEngine, first: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [engine.request(), engine.request()]
    for request in requests:
        run(request)

    def fail(self: object) -> None:
        raise BackendError('CUDA error 700')

    with monkeypatch.context() as patch:
        patch.setattr(FutureSlot, 'release', fail)
        for request in requests:
            with pytest.raises(BackendError, match='700'):
                request.release()
    engine.exchange(WatchedEngine())
    wait_closed(first)
    for request in [engine.request(), engine.request()]:
        run(request)
        request.release()


def test_nothing_is_kept_of_an_engine_that_was_closed(engine: SwitchingEngine) -> None:
    """Its buffers for the images are large."""
    second = WatchedEngine()
    engine.exchange(second)
    gone = weakref.ref(second)
    engine.exchange(WatchedEngine())
    wait_closed(second)
    del second

    def is_freed() -> bool:
        gc.collect()
        return gone() is None

    wait_until(is_freed)


def test_a_slot_that_was_not_touched_yet_is_of_the_new_engine(
    engine: SwitchingEngine, first: WatchedEngine
) -> None:
    """The pipeline holds a slot while it waits for frames: the first must not go to a dead engine.

    Both slots are free for the new engine, though both were handed out before.
    """
    requests = [engine.request(), engine.request()]
    second = WatchedEngine()
    engine.exchange(second)
    wait_closed(first)
    for request in requests:
        run(request)
        request.release()
    assert (first.calls, second.calls) == ([], [1, 1])


def test_the_engine_letterboxes_where_it_likes_to(
    engine: SwitchingEngine, first: WatchedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a GPU's letterbox would be lost behind this engine."""
    written = []
    slot = first.request()
    monkeypatch.setattr(type(slot), 'write', lambda self, index, *what: written.append(index))
    slot.release()
    request = engine.request()
    request.write(2, frame().image, Letterbox.fit((64, 48), engine.info.input_size))
    assert written == [2]
    request.release()


def test_who_waits_when_it_is_closed_is_told(engine: SwitchingEngine) -> None:
    held, errors = [engine.request(), engine.request()], []

    def wait() -> None:
        try:
            engine.request()
        except BackendError as error:
            errors.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    engine.close()
    waiter.join(5)
    assert 'closed' in str(errors)
    for request in held:
        request.release()


def test_it_says_what_serves_now(engine: SwitchingEngine) -> None:
    size = manifest().input
    assert engine.info.input_size == (size.width, size.height)
    half = WatchedEngine(fake_bundle(precision='fp16'))
    engine.exchange(half)
    assert engine.info is half.info
    assert engine.info.precision == 'fp16'


def test_an_engine_for_other_batches_is_refused_and_closed(
    engine: SwitchingEngine, first: WatchedEngine
) -> None:
    smaller = WatchedEngine(max_batch=2)
    with pytest.raises(BackendError, match='takes 2 images of 96x64 pixels, device 3.*max_batch'):
        engine.exchange(smaller)
    assert (smaller.closed, first.closed) == (1, 0)
    run(engine.request())


def test_an_engine_that_comes_too_late_is_closed(engine: SwitchingEngine) -> None:
    engine.close()
    late = WatchedEngine()
    with pytest.raises(BackendError, match='closed'):
        engine.exchange(late)
    assert late.closed == 1


def test_an_engine_that_cannot_be_closed_costs_a_line_of_the_log(
    engine: SwitchingEngine,
    first: WatchedEngine,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail() -> None:
        raise RuntimeError('CUDA error 700')

    with monkeypatch.context() as patch:
        patch.setattr(first, 'close', fail)
        engine.exchange(WatchedEngine())
        engine.close()
    assert 'device could not be closed: CUDA error 700' in caplog.messages
    first.close()


@pytest.mark.parametrize('users', [1, 2, 5])
def test_nothing_is_lost_while_threads_run_and_engines_change(users: int) -> None:
    """Every run gets its answer, every engine its end, whatever the threads do meanwhile."""
    engines = [WatchedEngine()]
    engine = SwitchingEngine(engines[0])
    answers: list[int] = []

    def use() -> None:
        for n in range(60):
            request = engine.request()
            answers.append(len(run(request, n % BATCH + 1)['boxes']))
            request.release()

    threads = [threading.Thread(target=use) for _ in range(users)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads) and len(engines) < 20:
        engines.append(WatchedEngine())
        engine.exchange(engines[-1])
        threading.Event().wait(0.002)
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive(), 'nobody may wait for ever'
    engine.close()
    assert sum(answers) == users * 60 * 2
    assert sum(sum(engine.calls) for engine in engines) == sum(answers)
    assert [engine.closed for engine in engines] == [1] * len(engines)
