"""The scheduler's bounds, in scenarios from a seed, and that the simulation is what it says."""

from __future__ import annotations

from itertools import pairwise

import pytest

from perception_ros.benchmarks.scheduling.policies import DynamicBatcher, Ours, POLICIES, Queue
from perception_ros.benchmarks.scheduling.report import grid, LOADS, measure
from perception_ros.benchmarks.scheduling.scenario import (
    Camera,
    draw,
    NO_PIXELS,
    Scenario,
    SLOTS,
)
from perception_ros.benchmarks.scheduling.simulation import fair_shares, simulate
from perception_ros.core.types import Frame
from test.builders import MS

SEEDS = range(60)
SECONDS = 3.0


def scenario(arrivals_ms: list[list[int]], max_batch: int = 2) -> Scenario:
    """Return one of an engine without noise: 8 ms a call and 1 ms a frame; hold 5 ms."""
    cameras = tuple(
        Camera(f'c{n}', 1, 30.0, tuple(at_ms * MS for at_ms in times))
        for n, times in enumerate(arrivals_ms)
    )
    return Scenario(0, cameras, 1.0, max_batch, 8.0, 1.0, 0.0, 5.0, False)


@pytest.mark.parametrize('seed', SEEDS)
def test_no_frame_is_older_than_the_bound(seed: int) -> None:
    """Whatever the load: one interval of its camera, and as many calls as the engine has slots."""
    drawn = draw(seed, SECONDS)
    for name in ('ours', 'ours, deadline'):
        outcome = simulate(drawn, POLICIES[name](drawn))
        ages, bounds = outcome.ages_ms(), outcome.bounds_ms()
        assert ages
        assert all(age <= bound + 1e-6 for age, bound in zip(ages, bounds, strict=True)), name


def test_where_all_fit_one_call_a_frame_waits_for_the_hold_or_one_call() -> None:
    """Then for those in the slots: the interval of its camera does not come into it."""
    seen = 0
    for seed in range(100):
        drawn = draw(seed, SECONDS)
        if drawn.max_batch < len(drawn.cameras):
            continue
        seen += 1
        outcome = simulate(drawn, Ours(drawn))
        longest_ms = max((call.ended_ns - call.begun_ns) / 1e6 for call in outcome.calls)
        bound_ms = max(drawn.delay_ms, longest_ms) + SLOTS * longest_ms
        assert max(outcome.ages_ms()) <= bound_ms + 1e-6, seed
    assert seen > 20


def test_a_queue_breaks_the_bound_that_the_scheduler_keeps() -> None:
    """Else the tests above might hold for anything."""
    drawn = draw(1, SECONDS, (2.0, 3.0))
    for name in ('queue', 'dynamic batcher'):
        outcome = simulate(drawn, POLICIES[name](drawn))
        assert max(outcome.ages_ms()) > max(outcome.bounds_ms())


def test_every_call_is_run_once_and_one_after_the_other() -> None:
    drawn = draw(3, SECONDS, (2.0, 2.0))
    for make in POLICIES.values():
        calls = simulate(drawn, make(drawn)).calls
        frames = [frame for call in calls for frame in call.frames]
        assert len(frames) == len({(frame.camera, frame.stamp_ns) for frame in frames})
        assert all(len(call.frames) <= drawn.max_batch for call in calls)
        for before, call in pairwise(calls):
            assert call.given_ns <= call.begun_ns and before.ended_ns <= call.begun_ns


def test_the_batcher_waits_for_a_full_call_and_no_longer_than_it_may() -> None:
    """Worked out by hand: c0 and c1 go together, the last of c0 alone, 5 ms after it came."""
    made = scenario([[1000, 1100], [1003]])
    calls = simulate(made, DynamicBatcher(made)).calls
    assert [(len(call.frames), call.begun_ns // MS, call.ended_ns // MS) for call in calls] == [
        (2, 1003, 1013), (1, 1105, 1114),
    ]


def test_the_queue_takes_the_oldest_and_with_a_depth_the_oldest_gives_way() -> None:
    made = scenario([list(range(1000, 1010))])
    for depth, expected in ((None, list(range(10))), (2, [8, 9])):
        queue = Queue(made, depth)
        for at_ms in made.cameras[0].arrivals_ns:
            queue.submit(Frame('c0', at_ms, at_ms, NO_PIXELS))
        taken = []
        while frames := queue.next_call(0):
            taken += [frame.stamp_ns // MS - 1000 for frame in frames]
        assert taken == expected


def test_the_fair_share_of_what_a_camera_does_not_send_is_for_the_others() -> None:
    cameras = list(scenario([[1], list(range(10)), list(range(20))]).cameras)
    assert fair_shares(cameras, {'c0': 1, 'c1': 2, 'c2': 12}) == {'c0': 1, 'c1': 7, 'c2': 7}


def test_the_engine_is_not_busier_than_always() -> None:
    made = scenario([[1000, 1020], [1000, 1020]])
    assert simulate(made, Queue(made)).utilisation() == pytest.approx(10 / 20)


def test_a_seed_gives_the_same_report_each_time() -> None:
    first, again = (measure(6, 5, 2.0, lambda text: None, 'this test') for _ in range(2))
    assert first.rows == again.rows
    assert len(grid(first).rows) == len(LOADS) * len(POLICIES)
    for row in first.rows:
        assert row.over_bound == 0 or not row.policy.startswith('ours')
