"""Who goes into which engine call, and what gives way when not all fit."""

from __future__ import annotations

from collections import Counter
import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.scheduler import PROBE_ROUNDS, Scheduler
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


# ---------------------------------------------------------------------------- holding a call back


def patient(cameras: int = 3, **more: Any) -> Scheduler:
    """Return a scheduler that would rather run 3 frames, and has seen two sets of all cameras."""
    model = {'preferred_batch': 3, 'max_queue_delay_ms': 10.0, **more}
    sched = scheduler(config(cameras, models={'m': model}))
    for stamp in (900, 933):
        submit(sched, cameras, stamp)
        assert sched.next_batch('m', stamp * MS)
    return sched


def come(sched: Scheduler, stamp_ms: float, *cameras: str) -> None:
    sched.submit(frame_set(*[frame(camera, stamp_ms) for camera in cameras], matched_ms=stamp_ms))


def sizes(sched: Scheduler, now_ms: float) -> list[int]:
    return [len(batch.frames) for batch in batches(sched, now_ms=now_ms)]


def test_a_small_call_waits_for_more_and_goes_when_it_is_full() -> None:
    sched = patient()
    come(sched, 966, 'c0', 'c1')
    assert sizes(sched, 967) == [] and sched.wake_ns('m') == 976 * MS
    come(sched, 970, 'c2')
    assert sizes(sched, 970) == [3] and sched.wake_ns('m') is None


def test_a_small_call_waits_no_longer_than_it_may() -> None:
    sched = patient()
    come(sched, 966, 'c0', 'c1')
    assert sizes(sched, 975.9) == []
    assert sizes(sched, 976) == [2]


def test_nothing_waits_for_what_is_not_to_come() -> None:
    """Both cameras are in; the third has been silent for two periods, the fourth is slow."""
    sched = patient(4, preferred_batch=4)
    for stamp in (966, 999, 1032):
        come(sched, stamp, 'c0', 'c1', *(['c3'] if stamp == 966 else []))
        batches(sched, now_ms=stamp + 10)
    come(sched, 1065, 'c0', 'c1')
    assert sizes(sched, 1065) == [2]


def test_a_camera_is_waited_for_until_it_is_silent() -> None:
    """It was due at 966, and with 999 it has missed a second one."""
    sched = patient(max_queue_delay_ms=40.0)
    come(sched, 970, 'c0', 'c1')
    assert sizes(sched, 970) == [] and sched.wake_ns('m') == 999 * MS
    assert sizes(sched, 999) == [2]


def test_a_frame_is_not_held_back_until_its_cameras_next_takes_its_place() -> None:
    sched = patient(max_queue_delay_ms=400.0)
    come(sched, 960, 'c0', 'c1')
    assert sizes(sched, 960) == [] and sched.wake_ns('m') == 990 * MS, 'a period of 30, or 33'


def test_a_call_that_would_be_late_does_not_wait() -> None:
    """A deadline of 30 ms less calls of 25: what came in at 966 has to go at 971."""
    sched = patient(deadline_ms=30.0)
    sched.note_call('m', 3, 25 * MS)
    come(sched, 966, 'c0', 'c1')
    assert sizes(sched, 967) == [] and sched.wake_ns('m') == 971 * MS
    assert sizes(sched, 971) == [2]


def test_nothing_waits_unless_asked_to() -> None:
    for off in ({'preferred_batch': 0}, {'max_queue_delay_ms': 0.0}):
        sched = patient(**off)
        come(sched, 966, 'c0')
        assert sizes(sched, 966) == [1]


# ------------------------------------------------------------------------------------- deadlines


def late(sched: Scheduler) -> list[str]:
    return [drop.camera for drop in sched.take_drops() if drop.reason.value == 'late']


def test_what_cannot_make_its_deadline_costs_no_call() -> None:
    sched = scheduler(config(2, models={'m': {'deadline_ms': 50.0}}))
    sched.note_call('m', 2, 20 * MS)
    sched.submit(
        frame_set(frame('c0', 1000, received_ms=1000), frame('c1', 1000, received_ms=1010))
    )
    [batch] = batches(sched, now_ms=1035)
    assert [f.camera for f in batch.frames] == ['c1'] and late(sched) == ['c0']


def test_a_call_is_no_larger_than_its_deadlines_allow() -> None:
    """Six would take 40 ms, of which 25 are left: three do, those of more weight first."""
    setup = config(6, priorities={'c0': 2}, models={'m': {'deadline_ms': 50.0}})
    sched = scheduler(setup)
    for size, duration_ms in ((1, 10), (3, 24), (6, 40)):
        sched.note_call('m', size, duration_ms * MS)
    submit(sched, 6, 1000)
    batch = sched.next_batch('m', 1025 * MS)
    assert batch and [f.camera for f in batch.frames] == ['c1', 'c2', 'c3']
    assert late(sched) == [], 'the rest is in time for a smaller call'


def test_a_frame_that_has_to_wait_is_not_overtaken_by_its_cameras_next() -> None:
    """The first of c1 makes it alone, in 10 ms, but not beside c0; the second could."""
    sched = scheduler(config(2, queue_depth=2, models={'m': {'deadline_ms': 50.0}}))
    for size in (1, 2):
        sched.note_call('m', size, size * 10 * MS)
    come(sched, 950, 'c1')
    assert sizes(sched, 950) == [1]
    come(sched, 990, 'c1')
    come(sched, 1000, 'c0', 'c1')
    calls = batches(sched, now_ms=1025)
    assert [[(f.camera, f.stamp_ns // MS) for f in batch.frames] for batch in calls] == [
        [('c0', 1000)], [('c1', 990)], [('c1', 1000)],
    ]


def test_without_deadline_nothing_is_late() -> None:
    sched = scheduler(config(1))
    sched.note_call('m', 1, 10_000 * MS)
    submit(sched, 1)
    assert sizes(sched, 1400) == [1]


def test_an_estimate_that_leaves_no_frame_a_chance_is_put_to_the_test() -> None:
    """One call of a second, as when a GPU wakes up, must not silence the model for ever."""
    sched = scheduler(config(2, models={'m': {'deadline_ms': 50.0}}))
    sched.note_call('m', 2, 1000 * MS)
    calls = 0
    for n in range(3 * (PROBE_ROUNDS + 1)):
        submit(sched, 2, 1000 + 33 * n)
        for size in sizes(sched, 1000 + 33 * n):
            calls += 1
            sched.note_call('m', size, 10 * MS)
    assert calls > 2 * PROBE_ROUNDS


def test_in_recorded_time_nothing_is_held_back_and_nothing_is_late() -> None:
    model = {'preferred_batch': 3, 'max_queue_delay_ms': 10.0, 'deadline_ms': 20.0}
    sched = Scheduler(config(3, models={'m': model}), {'m': 6}, is_live=False)
    sched.note_call('m', 1, 1000 * MS)
    for stamp in (900, 933, 966):
        come(sched, stamp, 'c0', 'c1', *(['c2'] if stamp < 966 else []))
        assert len(sizes(sched, stamp)) == 1


# --------------------------------------------------------------- histories that nobody thought of

MODELS = st.fixed_dictionaries({
    'preferred_batch': st.integers(0, 7),
    'max_queue_delay_ms': st.integers(0, 60).map(float),
    'deadline_ms': st.sampled_from([0.0, 20.0, 60.0, 150.0]),
})
STEPS = st.lists(
    st.tuples(
        st.sets(st.integers(0, 4)),  # whose frames come
        st.integers(0, 100),  # ms after the last
        st.integers(0, 40),  # ms that they were in the synchroniser
        st.integers(0, 80),  # ms that a call takes, if the engine is free; 0: it is not
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(
    models=st.lists(MODELS, min_size=1, max_size=2), steps=STEPS,
    max_batch=st.integers(1, 7), depth=st.integers(1, 3),
    priorities=st.lists(st.integers(1, 2), min_size=5, max_size=5),
)
def test_every_frame_is_inferred_or_dropped_once_by_each_model_and_in_order(
    models: list[dict[str, Any]], steps: list[tuple[set[int], int, int, int]],
    max_batch: int, depth: int, priorities: list[int],
) -> None:
    names = {f'm{n}': model for n, model in enumerate(models)}
    cameras = {f'c{n}': priority for n, priority in enumerate(priorities)}
    setup = config(5, cameras, models=names, queue_depth=depth, max_age_ms=200)
    sched, now_ms = scheduler(setup, max_batch), 1000
    submitted: list[tuple[str, int]] = []
    inferred: dict[str, list[tuple[str, int]]] = {name: [] for name in names}
    for stamp, (come_in, pause_ms, waited_ms, call_ms) in enumerate(steps, 1):
        now_ms += pause_ms
        frames = [frame(f'c{n}', stamp, now_ms - waited_ms) for n in sorted(come_in)]
        submitted += [(f.camera, f.stamp_ns) for f in frames]
        sched.submit(frame_set(*frames, matched_ms=now_ms))
        for model in names if call_ms else ():
            if batch := sched.next_batch(model, now_ms * MS):
                assert 0 < len(batch.frames) <= max_batch
                assert all(now_ms * MS - f.received_ns <= 200 * MS for f in batch.frames)
                inferred[model] += [(f.camera, f.stamp_ns) for f in batch.frames]
                sched.note_call(model, len(batch.frames), call_ms * MS)
    sched.clear()
    drops = sched.take_drops()
    for model, done in inferred.items():
        dropped = [(drop.camera, drop.stamp_ns) for drop in drops if drop.model == model]
        assert sorted(done + dropped) == sorted(submitted)
        for camera in cameras:
            stamps = [stamp_ns for name, stamp_ns in done if name == camera]
            assert stamps == sorted(stamps)


@settings(max_examples=200, deadline=None)
@given(model=MODELS, steps=STEPS, max_batch=st.integers(1, 7))
def test_nothing_is_held_back_longer_than_it_may(
    model: dict[str, Any], steps: list[tuple[set[int], int, int, int]], max_batch: int
) -> None:
    """Where a call is held back, it goes when it was said, whatever does not come until then."""
    sched, now_ms = scheduler(config(5, models={'m': model}), max_batch), 1000
    for come_in, pause_ms, waited_ms, call_ms in steps:
        now_ms += pause_ms
        frames = [frame(f'c{n}', now_ms, now_ms - waited_ms) for n in sorted(come_in)]
        sched.submit(frame_set(*frames, matched_ms=now_ms))
        batch = sched.next_batch('m', now_ms * MS)
        wake_ns = sched.wake_ns('m')
        if wake_ns is not None:
            assert batch is None
            batch = sched.next_batch('m', wake_ns)
            assert batch and len(batch.frames) < model['preferred_batch']
            assert wake_ns <= min(batch.matched_ns) + model['max_queue_delay_ms'] * MS
            assert not late(sched) or now_ms * MS < wake_ns
            now_ms = max(now_ms, -(-wake_ns // MS))
        if batch and call_ms:
            sched.note_call('m', len(batch.frames), call_ms * MS)
        if batch is None:
            assert sizes(sched, now_ms) == [], 'what nothing wakes must not wait'


@settings(max_examples=100, deadline=None)
@given(
    cameras=st.integers(2, 12), max_batch=st.integers(1, 12), priorities=st.data(),
    phases=st.lists(st.integers(0, 29), min_size=12, max_size=12), call_ms=st.integers(31, 90),
)
def test_equals_get_equal_shares_and_the_first_lose_nothing(
    cameras: int, max_batch: int, priorities: st.DataObject, phases: list[int], call_ms: int
) -> None:
    """Each camera has a new frame every 30 ms, at a time of its own; a call takes longer."""
    first = priorities.draw(st.integers(0, min(max_batch, cameras) - 1))
    weights = {f'c{n}': 1 if n < first else 2 for n in range(cameras)}
    sched, calls = scheduler(config(cameras, weights), max_batch), 60
    events = sorted(
        [(30 * n + phases[c] + 0.0, c) for n in range(calls * 3) for c in range(cameras)]
        + [(call_ms * n + 30.5, -1) for n in range(calls)]
    )
    served: Counter[str] = Counter()
    for at_ms, camera in events:
        if camera >= 0:
            come(sched, 1000 + at_ms, f'c{camera}')
            continue
        batch = sched.next_batch('m', round((1000 + at_ms) * MS))
        assert batch
        served.update(f.camera for f in batch.frames)
    rest = [served[f'c{n}'] for n in range(first, cameras)]
    assert [served[f'c{n}'] for n in range(first)] == [calls] * first
    fair = calls * min(max_batch - first, len(rest)) / len(rest)
    assert all(abs(count - fair) <= max(0.05 * fair, 1) for count in rest), (fair, rest)


@settings(max_examples=100, deadline=None)
@given(
    rounds=st.lists(st.sets(st.integers(0, 4), min_size=1), min_size=1, max_size=40),
    max_batch=st.integers(1, 6), depth=st.integers(1, 3),
)
def test_no_camera_has_two_turns_while_an_equal_waits(
    rounds: list[set[int]], max_batch: int, depth: int
) -> None:
    """And whoever waits has its turn within as many calls as it takes to serve all."""
    sched = scheduler(config(5, queue_depth=depth, max_age_ms=60_000), max_batch)
    waiting: Counter[str] = Counter()
    since: dict[str, int] = {}
    for n, come_in in enumerate(rounds):
        cameras = [f'c{c}' for c in sorted(come_in)]
        come(sched, 1000 + n, *cameras)
        for camera in cameras:
            waiting[camera] = min(waiting[camera] + 1, depth)
            since.setdefault(camera, n)
        batch = sched.next_batch('m', (1000 + n) * MS)
        assert batch
        turns = [f.camera for f in batch.frames]
        for index, camera in enumerate(turns):
            if camera in turns[:index]:
                assert set(since) <= set(turns[:index]), 'all had their first before its second'
        assert all(n - began < math.ceil(5 / max_batch) for began in since.values())
        waiting.subtract(turns)
        for camera in set(turns):
            del since[camera]
        since |= {camera: n + 1 for camera in set(turns) if waiting[camera]}
