"""Who goes into which engine call, and what gives way when not all fit."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.scheduler import Scheduler
from perception_ros.core.types import Batch
from test.builders import frame, frame_set, MS


def config(cameras: int = 6, priorities: dict[str, int] | None = None, **more: Any) -> Any:
    models = more.pop('models', {'m': {}})
    return load_config(
        {
            'cameras': {
                f'c{n}': {'priority': (priorities or {}).get(f'c{n}', 1)} for n in range(cameras)
            },
            'models': models,
            **more,
        }
    )


def scheduler(setup: PerceptionConfig, max_batch: int = 6) -> Scheduler:
    return Scheduler(setup, dict.fromkeys(setup.models, max_batch))


def submit(sched: Scheduler, cameras: int, stamp_ms: float = 1000) -> None:
    frames = [frame(f'c{n}', stamp_ms) for n in range(cameras)]
    sched.submit(frame_set(*frames, matched_ms=stamp_ms))


def batches(sched: Scheduler, model: str = 'm', now_ms: float = 1000) -> list[Batch]:
    found = []
    while batch := sched.next_batch(model, round(now_ms * MS)):
        found.append(batch)
    return found


@pytest.mark.parametrize(
    ('cameras', 'sizes'),
    [(6, [6]), (5, [5]), (1, [1]), (14, [6, 6, 2])],
    ids=['whole set', 'partial set', 'one camera', 'more than the engine takes'],
)
def test_a_set_goes_in_as_few_calls_as_the_engine_allows(cameras: int, sizes: list[int]) -> None:
    sched = scheduler(config(cameras), max_batch=6)
    submit(sched, cameras)
    found = batches(sched)
    assert [len(batch.frames) for batch in found] == sizes
    assert len({f.camera for batch in found for f in batch.frames}) == cameras


def test_sets_that_wait_share_a_call() -> None:
    """A call of four costs less than two of two: what waits goes together."""
    sched = scheduler(config(2, queue_depth=3))
    for stamp in (1000, 1033, 1066):
        submit(sched, 2, stamp)
    [batch] = batches(sched)
    assert len(batch.frames) == 6


def test_the_newest_frame_wins() -> None:
    sched = scheduler(config(1))
    submit(sched, 1, 1000)
    submit(sched, 1, 1033)
    [batch] = batches(sched)
    assert [f.stamp_ns // MS for f in batch.frames] == [1033]
    [drop] = sched.take_drops()
    assert (drop.camera, drop.reason.value, drop.stamp_ns // MS, drop.model) == (
        'c0',
        'superseded',
        1000,
        'm',
    )


def test_a_stale_frame_is_dropped_not_inferred() -> None:
    sched = scheduler(config(2, max_age_ms=100))
    sched.submit(
        frame_set(frame('c0', 1000, received_ms=1000), frame('c1', 1000, received_ms=1050))
    )
    [batch] = batches(sched, now_ms=1120)
    assert [f.camera for f in batch.frames] == ['c1']
    assert [(d.camera, d.reason.value) for d in sched.take_drops()] == [('c0', 'stale')]


def test_priority_cameras_go_first() -> None:
    sched = scheduler(config(4, priorities={'c0': 2, 'c1': 2, 'c2': 1, 'c3': 1}), max_batch=2)
    submit(sched, 4)
    assert [[f.camera for f in b.frames] for b in batches(sched)] == [['c2', 'c3'], ['c0', 'c1']]


def test_cameras_of_equal_priority_get_equal_shares_under_overload() -> None:
    """Room for 2 of 5 at each set: sorting by age alone would serve c0 and c1 for ever."""
    sched = scheduler(config(5), max_batch=2)
    served: Counter[str] = Counter()
    for n in range(50):
        submit(sched, 5, 1000 + 33 * n)
        batch = sched.next_batch('m', (1000 + 33 * n) * MS)
        assert batch is not None
        served.update(f.camera for f in batch.frames)
    assert set(served.values()) == {20}


def test_models_have_their_own_cameras_and_queues() -> None:
    setup = config(3, models={'a': {'cameras': ('c0', 'c2')}, 'b': {}})
    sched = scheduler(setup)
    submit(sched, 3)
    assert [f.camera for f in batches(sched, 'a')[0].frames] == ['c0', 'c2']
    assert [f.camera for f in batches(sched, 'b')[0].frames] == ['c0', 'c1', 'c2']


@pytest.mark.parametrize(
    ('camera_hz', 'model_hz', 'expected'),
    [(30, 10, 100), (30, 20, 200), (30, 30, 300), (30, 60, 300), (25, 10, 100)],
)
def test_rate_is_kept_on_average(camera_hz: float, model_hz: float, expected: int) -> None:
    """Ten seconds: also where the rates do not divide, and with stamps that jitter."""
    sched = scheduler(config(1, models={'m': {'max_rate_hz': model_hz}}))
    taken = 0
    for n in range(10 * round(camera_hz)):
        submit(sched, 1, 1000 + n * 1000 / camera_hz + (-1) ** n * 0.4)
        taken += len(batches(sched, now_ms=1000 + n * 1000 / camera_hz))
    assert abs(taken - expected) <= 1
    assert {d.reason.value for d in sched.take_drops()} <= {'rate'}


def test_rate_takes_or_leaves_whole_sets_whenever_each_camera_began() -> None:
    """Beats of each camera's own would split every set: two calls where one does."""
    sched = scheduler(config(2, models={'m': {'max_rate_hz': 10}}))
    sizes = []
    for n in range(60):
        stamp = 1000 + n * 1000 / 30
        sched.submit(frame_set(*[frame(c, stamp) for c in ('c0', 'c1')[: 1 if n == 0 else 2]]))
        sizes += [len(batch.frames) for batch in batches(sched, now_ms=stamp)]
    assert sizes[:2] in ([1, 1], [1, 2])
    assert sizes[2:] == [2] * len(sizes[2:])


def test_rate_survives_a_clock_that_jumps_back() -> None:
    sched = scheduler(config(1, models={'m': {'max_rate_hz': 10}}))
    for start in (100_000, 1_000):
        taken = 0
        for n in range(30):
            submit(sched, 1, start + n * 33.4)
            taken += len(batches(sched, now_ms=start))
        assert taken in (10, 11)


def test_what_nobody_wants_does_not_wait() -> None:
    setup = config(2)
    sched = Scheduler(setup, {'m': 6}, wanted=lambda camera, model: camera == 'c1')
    submit(sched, 2)
    assert [f.camera for f in batches(sched)[0].frames] == ['c1']
    assert [(d.camera, d.reason.value) for d in sched.take_drops()] == [('c0', 'unwanted')]


def test_clear_gives_every_waiting_frame_a_reason() -> None:
    sched = scheduler(config(3))
    submit(sched, 3)
    sched.clear()
    assert [d.reason.value for d in sched.take_drops()] == ['stopped'] * 3
    assert batches(sched) == []


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 5), st.booleans(), st.integers(0, 300)), max_size=30),
    max_batch=st.integers(1, 7),
    depth=st.integers(1, 3),
)
def test_nothing_vanishes_and_no_call_is_too_large(
    steps: list[tuple[int, bool, int]], max_batch: int, depth: int
) -> None:
    sched = scheduler(config(5, queue_depth=depth, max_age_ms=200), max_batch)
    submitted, inferred, now_ms = 0, 0, 1000
    for cameras, call, pause_ms in steps:
        now_ms += pause_ms + 1
        submit(sched, cameras, now_ms)
        submitted += cameras
        if call and (batch := sched.next_batch('m', now_ms * MS)):
            assert len(batch.frames) <= max_batch
            assert all(now_ms * MS - f.received_ns <= 200 * MS for f in batch.frames)
            inferred += len(batch.frames)
    sched.clear()
    assert submitted == inferred + len(sched.take_drops())
