"""The rules that the synchroniser keeps, whatever comes in."""

from __future__ import annotations

from collections import Counter
import gc
import weakref

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from perception_ros.core.config import SynchronizerConfig
from perception_ros.core.synchronizer import LOST_AFTER, MAX_GROUPS, Synchronizer
from perception_ros.core.types import DropReason, Frame, FrameSet
from test.builders import frame, MS, picture

CAMERAS = ('front', 'left', 'right')
PERIOD_MS = 1000 / 30


def synchronizer(
    policy: str = 'deadline',
    tolerance_ms: float = 10.0,
    max_wait_ms: float = 20.0,
    cameras: tuple[str, ...] = CAMERAS,
    **offsets_ms: float,
) -> Synchronizer:
    config = SynchronizerConfig(
        policy=policy,  # type: ignore[arg-type]
        tolerance_ms=tolerance_ms,
        max_wait_ms=max_wait_ms,
    )
    return Synchronizer(cameras, config, offsets_ms)


def play(sync: Synchronizer, frames: list[Frame], until_ms: float | None = None) -> list[FrameSet]:
    """Push frames in the order in which they are received, polling as the pipeline does."""
    sets: list[FrameSet] = []
    for item in sorted(frames, key=lambda f: f.received_ns):
        while (deadline := sync.next_deadline_ns()) is not None and deadline <= item.received_ns:
            sets += sync.poll(deadline)
        sync.push(item)
        sets += sync.poll(item.received_ns)
    if until_ms is not None:
        sets += sync.poll(round(until_ms * MS))
    return sets


def reasons(sync: Synchronizer) -> Counter[tuple[str, str]]:
    return Counter((drop.camera, drop.reason.value) for drop in sync.take_drops())


def stamps_ms(frame_set: FrameSet) -> dict[str, float]:
    return {f.camera: f.stamp_ns / MS for f in frame_set.frames}


@pytest.mark.parametrize('policy', ['exact', 'approximate', 'deadline'])
def test_a_complete_set_leaves_with_its_last_frame(policy: str) -> None:
    """Waiting any longer than for the last camera would be latency for nothing."""
    sync = synchronizer(policy)
    sync.push(frame('right', 1000, 1001))
    sync.push(frame('front', 1000, 1002))
    assert sync.poll(1002 * MS) == []
    sync.push(frame('left', 1000, 1003))
    [found] = sync.poll(1003 * MS)
    assert found.cameras == CAMERAS, 'frames must come in the configured order'
    assert found.missing == ()
    assert found.matched_ns == 1003 * MS


def test_exact_refuses_stamps_that_differ_by_a_nanosecond() -> None:
    sync = synchronizer('exact', cameras=('front', 'left'))
    sync.push(frame('front', 1000))
    sync.push(frame('left', 1000 + 1e-6))
    assert sync.poll(1000 * MS) == []


@pytest.mark.parametrize(('apart_ms', 'sets'), [(10.0, 1), (10.1, 0)], ids=['at', 'beyond'])
def test_approximate_matches_up_to_its_tolerance(apart_ms: float, sets: int) -> None:
    sync = synchronizer('approximate', tolerance_ms=10.0, cameras=('front', 'left'))
    assert len(play(sync, [frame('front', 1000), frame('left', 1000 + apart_ms)])) == sets


def test_deadline_emits_what_is_there_and_names_who_is_missing() -> None:
    sync = synchronizer(max_wait_ms=20.0)
    sync.push(frame('front', 1000, 1005))
    sync.push(frame('left', 1001, 1006))
    assert sync.next_deadline_ns() == 1025 * MS, 'the oldest frame came at 1005 and waits 20 ms'
    assert sync.poll(1025 * MS - 1) == []
    [found] = sync.poll(1025 * MS)
    assert found.cameras == ('front', 'left')
    assert found.missing == ('right',)
    assert reasons(sync) == {('right', 'missing'): 1}


@pytest.mark.parametrize('policy', ['exact', 'approximate'])
def test_strict_policies_never_emit_an_incomplete_set(policy: str) -> None:
    """Half a set is what these policies promise not to give, and their memory stays bounded."""
    sync = synchronizer(policy)
    frames = [frame(c, 1000 + 33 * n) for n in range(200) for c in ('front', 'left')]
    assert play(sync, frames, until_ms=60_000) == []
    dropped = reasons(sync)
    assert set(dropped) == {('front', 'unmatched'), ('left', 'unmatched')}
    assert sum(dropped.values()) == 2 * (200 - MAX_GROUPS)


def test_a_newer_complete_set_closes_the_older_incomplete_one_first() -> None:
    """Order and freshness before completeness: the older one cannot leave after the newer."""
    for policy, expected in (('approximate', [1033]), ('deadline', [1000, 1033])):
        sync = synchronizer(policy, max_wait_ms=500)
        frames = [frame('front', 1000), frame('left', 1000)]
        frames += [frame(c, 1033) for c in CAMERAS]
        sets = play(sync, frames)
        assert [f.frames[0].stamp_ns // MS for f in sets] == expected, policy


def test_a_silent_camera_costs_three_waits_and_then_none() -> None:
    """One dead camera must not slow the others down for as long as it is dead."""
    sync = synchronizer(max_wait_ms=20.0)
    waits = []
    for n in range(LOST_AFTER + 5):
        stamp = 1000 + PERIOD_MS * n
        frames = [frame('front', stamp), frame('left', stamp)]
        for found in play(sync, frames, until_ms=stamp + 20):
            waits.append(round((found.matched_ns - found.frames[0].received_ns) / MS))
    assert waits == [20] * LOST_AFTER + [0] * 5
    assert reasons(sync) == {('right', 'missing'): LOST_AFTER + 5}


def test_camera_out_for_four_seconds_of_thirty_hertz() -> None:
    """The others keep their rate, the record names the camera, it is back within two frames."""
    sync = synchronizer(tolerance_ms=15.0, max_wait_ms=25.0)
    frames = []
    for n in range(300):  # 10 s; 'right' is silent from 3 s to 7 s, and always 4 ms behind
        stamp = 1000 + PERIOD_MS * n
        frames += [frame('front', stamp, stamp + 1), frame('left', stamp, stamp + 2)]
        if not 90 <= n < 210:
            frames.append(frame('right', stamp, stamp + 5))
    sets = play(sync, frames, until_ms=60_000)
    for camera in ('front', 'left'):
        assert sum(camera in found.cameras for found in sets) == 300, camera
    during = [f for f in sets if 90 <= round((f.frames[0].stamp_ns / MS - 1000) / PERIOD_MS) < 210]
    assert all(f.cameras == ('front', 'left') for f in during)
    assert len(during) == 120
    complete_again = [f for f in sets if f.frames[0].stamp_ns / MS > 1000 + PERIOD_MS * 210.5]
    assert all(f.cameras == CAMERAS for f in complete_again), 'in every set from its second frame'
    dropped = reasons(sync)
    assert dropped[('right', 'missing')] >= 119
    assert {camera for camera, _ in dropped} == {'right'}, 'nobody else lost anything'


def test_a_late_frame_travels_alone_and_is_not_lost() -> None:
    sync = synchronizer(max_wait_ms=20.0)
    sets = play(sync, [frame('front', 1000), frame('left', 1000), frame('right', 1000, 1090)])
    assert [f.cameras for f in sets] == [('front', 'left'), ('right',)]
    assert sets[1].missing == (), 'the others were there: they have only left already'
    assert sets[1].matched_ns == 1090 * MS, 'nothing is left to wait for'


def test_a_camera_that_is_always_too_late_is_not_waited_for() -> None:
    """Otherwise one slow link would add max_wait_ms to every frame of every camera."""
    sync = synchronizer(max_wait_ms=20.0)
    frames = []
    for n in range(40):
        stamp = 1000 + PERIOD_MS * n
        frames += [frame('front', stamp), frame('left', stamp), frame('right', stamp, stamp + 60)]
    sets = play(sync, frames, until_ms=9000)
    late = [f for f in sets if f.cameras == ('right',)]
    pairs = [f for f in sets if f.cameras == ('front', 'left')]
    assert len(late) == 40, 'none of its frames is lost'
    assert [f.matched_ns - f.frames[0].received_ns for f in pairs[LOST_AFTER:]] == [0] * 37


def test_a_slower_camera_is_waited_for_only_when_it_is_due() -> None:
    """30, 30 and 10 Hz: two sets of three have nothing of the third, and must not wait for it."""
    sync = synchronizer(max_wait_ms=20.0)
    frames = []
    for n in range(90):
        stamp = 1000 + PERIOD_MS * n
        frames += [frame('front', stamp), frame('left', stamp, stamp + 1)]
        if n % 3 == 0:
            frames.append(frame('right', stamp, stamp + 4))
    sets = play(sync, frames, until_ms=9000)
    learnt = [f for f in sets if f.frames[0].stamp_ns / MS > 1000 + PERIOD_MS * 20]
    waits_ms = [(f.matched_ns - f.frames[0].received_ns) / MS for f in learnt]
    assert max(waits_ms) <= 4.0
    assert [len(f.frames) for f in learnt[:6]] in ([3, 2, 2] * 2, [2, 3, 2] * 2, [2, 2, 3] * 2)
    assert all(f.missing == () for f in learnt), 'a slow camera is not a missing one'


def test_no_image_is_kept_once_its_set_has_left() -> None:
    """The memory of departed sets would else hold a second of images of every camera."""
    sync = synchronizer(cameras=('front',))
    pixels = picture()
    alive = weakref.ref(pixels)
    sync.push(frame('front', 1000, pixels=pixels))
    assert len(sync.poll(1000 * MS)) == 1
    del pixels
    gc.collect()
    assert alive() is None


def test_duplicates_and_disorder_are_dropped_with_their_reason() -> None:
    sync = synchronizer(cameras=('front',))
    sets = play(
        sync,
        [
            frame('front', 1000, 1),
            frame('front', 1000, 2),
            frame('front', 1066, 3),
            frame('front', 1033, 4),
            frame('front', 1100, 5),
        ],
    )
    assert [f.frames[0].stamp_ns // MS for f in sets] == [1000, 1066, 1100]
    assert reasons(sync) == {('front', 'duplicate'): 1, ('front', 'out_of_order'): 1}


def test_frames_that_overtook_each_other_still_find_their_partners() -> None:
    sync = synchronizer(max_wait_ms=50.0, cameras=('front', 'left'))
    sets = play(
        sync,
        [
            frame('front', 1000, 1000),
            frame('left', 1033, 1001),
            frame('left', 1000, 1002),
            frame('front', 1033, 1034),
        ],
    )
    assert [list(stamps_ms(f).values()) for f in sets] == [[1000, 1000], [1033, 1033]]


def test_time_offsets_are_for_matching_only() -> None:
    sync = synchronizer('exact', cameras=('front', 'left'), left=-40.0)
    [found] = play(sync, [frame('front', 1000), frame('left', 1040)])
    assert stamps_ms(found) == {'front': 1000, 'left': 1040}


@pytest.mark.parametrize('back_ms', [60_000.0, 300.0], ids=['bag loop', 'small step back'])
def test_a_clock_set_back_costs_a_few_frames_at_most(back_ms: float) -> None:
    """A synchroniser that waits for time to catch up would be silent for as long as the jump."""
    sync = synchronizer()
    frames, received = [], 0.0
    for start in (100_000.0, 100_000.0 + 29 * PERIOD_MS - back_ms):
        for n in range(30):
            received += PERIOD_MS
            frames += [frame(c, start + n * PERIOD_MS, received) for c in CAMERAS]
    sets = play(sync, frames, until_ms=received + 1000)
    emitted = Counter(f.camera for found in sets for f in found.frames)
    assert all(emitted[camera] >= 58 for camera in CAMERAS), emitted
    assert sync.clock_jumps == dict.fromkeys(CAMERAS, 1)
    assert all(found.cameras == CAMERAS for found in sets[-25:])


def test_a_clock_that_jumps_all_the_time_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two drivers on one topic, each with a clock of its own."""
    sync = synchronizer()
    play(sync, [frame('front', 1e6 - n % 2 * 1e5, n * PERIOD_MS) for n in range(180)])
    assert sync.clock_jumps['front'] == 90
    told = [line for line in caplog.messages if 'set back' in line]
    assert len(told) == 2, 'in six seconds'
    assert 'set back by 100.000 s (1 times so far)' in told[0]


def test_one_camera_an_hour_ahead_disturbs_nobody() -> None:
    """The healthy cameras neither wait for it nor are torn apart by its deadline."""
    sync = synchronizer()
    frames = []
    for n in range(60):
        stamp = 10_000 + PERIOD_MS * n
        frames.append(frame('front', stamp, stamp))
        frames.append(frame('left', stamp, stamp + 8))
        frames.append(frame('right', stamp + 3_600_000, stamp + 4))
    sets = play(sync, frames, until_ms=1e6)
    pairs = [f for f in sets if f.cameras == ('front', 'left')]
    assert len(pairs) == 60
    assert all(f.matched_ns == f.frames[1].received_ns for f in pairs[1:]), 'no wait for the third'
    assert sum(f.cameras == ('right',) for f in sets) == 60


def test_an_unknown_camera_is_an_error() -> None:
    with pytest.raises(KeyError, match='rear'):
        synchronizer().push(frame('rear'))


def test_the_message_filters_policy_is_not_made_here() -> None:
    with pytest.raises(ValueError, match=r'perception_ros\.ros\.filters'):
        synchronizer('message_filters')


# Streams that misbehave in every way: gaps, jitter, delays, repeats, disorder, clock jumps.
_frames = st.lists(
    st.tuples(
        st.sampled_from(CAMERAS),
        st.integers(0, 40),  # frame number
        st.integers(-12, 12),  # jitter, ms
        st.integers(0, 120),  # delay, ms
        st.sampled_from([0, 0, 0, 0, -5_000, 3_600_000]),  # clock, ms
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(
    events=_frames,
    policy=st.sampled_from(['exact', 'approximate', 'deadline']),
    tolerance_ms=st.sampled_from([0.0, 10.0, 40.0]),
)
def test_whatever_comes_the_rules_hold(
    events: list[tuple[str, int, int, int, int]], policy: str, tolerance_ms: float
) -> None:
    """Each frame leaves once or is dropped with a reason; sets are sound; order is kept."""
    sync = synchronizer(policy, tolerance_ms)
    frames = [
        frame(camera, 10_000 + 33 * number + jitter + clock, 10_000 + 33 * number + delay)
        for camera, number, jitter, delay, clock in events
    ]
    order = sorted(frames, key=lambda f: f.received_ns)
    sets: list[FrameSet] = []
    epoch: dict[int, int] = {}
    last: dict[str, tuple[int, int]] = {}
    drops = []
    for item in order:
        sync.push(item)
        epoch[id(item)] = sync.clock_jumps[item.camera]
        ready = sync.poll(item.received_ns)
        drops += sync.take_drops()
        for f in (f for found in ready for f in found.frames):
            place = (epoch[id(f)], f.stamp_ns)
            assert place > last.get(f.camera, (0, -1)), 'order within a camera, between jumps'
            last[f.camera] = place
        sets += ready
    sets += sync.flush(10**18)
    drops += sync.take_drops()

    emitted = Counter(id(f) for found in sets for f in found.frames)
    assert all(count == 1 for count in emitted.values()), 'nothing leaves twice'
    lost = [drop for drop in drops if drop.reason is not DropReason.MISSING]
    assert len(emitted) + len(lost) == len(frames), 'nothing vanishes without a record'
    for found in sets:
        stamps = [f.stamp_ns for f in found.frames]
        allowed = 0 if policy == 'exact' else tolerance_ms * MS
        assert max(stamps) - min(stamps) <= allowed
        assert len(set(found.cameras)) == len(found.cameras)
        assert not set(found.cameras) & set(found.missing)
        if policy != 'deadline':
            assert found.cameras == CAMERAS


@settings(max_examples=100, deadline=None)
@given(events=_frames)
def test_no_frame_waits_longer_than_the_deadline(
    events: list[tuple[str, int, int, int, int]],
) -> None:
    """What the policy adds to latency is bounded by max_wait_ms, whatever others do."""
    sync = synchronizer('deadline', max_wait_ms=20.0)
    frames = [
        frame(camera, 10_000 + 33 * number + jitter + clock, 10_000 + 33 * number + delay)
        for camera, number, jitter, delay, clock in events
    ]
    for found in play(sync, frames, until_ms=10**9):
        if found.matched_ns < 10**9 * MS:
            assert all(found.matched_ns - f.received_ns <= 20 * MS for f in found.frames)
