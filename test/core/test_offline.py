"""The pipeline in recorded time: what becomes of a frame depends on the recording alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from perception_ros.backends.fake import FakeEngine
from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.model import Model
from perception_ros.core.offline import OfflinePipeline, RecordedTime
from perception_ros.core.statistics import Statistics
from perception_ros.core.synchronizer import Synchronizer
from perception_ros.core.types import Drop, Frame, FrameSet, Result
from test.builders import fake_bundle, frame, MS

CAMERAS = ('a', 'b', 'c')


class Watch(Statistics):
    """Remembers the sets and the drops."""

    def __init__(self) -> None:
        super().__init__()
        self.sets: list[FrameSet] = []
        self.drops: list[Drop] = []

    def matched(self, frame_set: FrameSet) -> None:
        super().matched(frame_set)
        self.sets.append(frame_set)

    def dropped(self, drops: Any) -> None:
        drops = list(drops)
        super().dropped(drops)
        self.drops += drops


class Offline:
    """An offline pipeline over fake engines, fed with frames that come at their `received_ns`."""

    def __init__(
        self,
        frames: Sequence[Frame],
        *,
        duration_ms: float = 0.0,
        max_batch: int = 2,
        rehearsed: int = 0,
        models: tuple[str, ...] = ('fake',),
        **values: Any,
    ) -> None:
        self.config = configured(models, **values)
        self.watch = Watch()
        self.results: list[Result] = []
        bundle = fake_bundle()
        self.engines = {
            name: FakeEngine(bundle, max_batch=max_batch, duration_ms=duration_ms)
            for name in models
        }
        pipeline = OfflinePipeline(
            self.config,
            {name: Model(name, bundle.manifest, engine) for name, engine in self.engines.items()},
            self.results.append,
            statistics=self.watch,
        )
        for index, item in enumerate(frames):
            pipeline.is_rehearsal = index < rehearsed
            pipeline.receive(item)
        pipeline.finish()
        for engine in self.engines.values():
            engine.close()

    def answers(self) -> list[tuple[str, int, str]]:
        return [(r.frame.camera, r.frame.stamp_ns, r.model) for r in self.results]


def configured(models: tuple[str, ...] = ('fake',), **values: Any) -> PerceptionConfig:
    return load_config({
        'cameras': {name: {} for name in CAMERAS}, 'models': {name: {} for name in models},
        **values,
    })


@st.composite
def recordings(draw: st.DrawFn) -> list[Frame]:
    """Return frames of three cameras as recorded: jittered, late, repeated, and with gaps."""
    time = RecordedTime()
    stamps = []
    for index in range(draw(st.integers(1, 12))):
        for camera in CAMERAS:
            if draw(st.booleans()):
                jitter = draw(st.integers(-20, 20))
                late = draw(st.sampled_from((0, 0, 0, 45, 120)))
                stamps.append((1000 + 33 * index + late, camera, 1000 + 33 * index + jitter))
    stamps.sort(key=lambda item: item[0])
    return [
        frame(camera, stamp, time.pass_to(camera, stamp * MS) / MS) for _, camera, stamp in stamps
    ]


def simulated(frames: Sequence[Frame], config: PerceptionConfig) -> list[tuple[str, ...]]:
    """Return the sets that the synchroniser gives when it is asked at every millisecond."""
    synchronizer = Synchronizer(CAMERAS, config.synchronizer)
    sets, waiting, now_ns = [], list(frames), frames[0].received_ns if frames else 0
    end_ns = frames[-1].received_ns if frames else 0
    while now_ns <= end_ns:
        sets += synchronizer.poll(now_ns)
        while waiting and waiting[0].received_ns <= now_ns:
            synchronizer.push(waiting.pop(0))
            sets += synchronizer.poll(now_ns)
        now_ns += MS
    sets += synchronizer.flush(end_ns)
    return [named(item) for item in sets]


def named(frame_set: FrameSet) -> tuple[str, ...]:
    return tuple(f'{f.camera} {f.stamp_ns}' for f in frame_set.frames)


@settings(max_examples=30, deadline=None)
@given(frames=recordings(), policy=st.sampled_from(('deadline', 'approximate', 'exact')))
def test_sets_are_those_of_the_synchroniser_in_recorded_time(
    frames: list[Frame], policy: str
) -> None:
    offline = Offline(frames, synchronizer={'policy': policy})
    assert [named(item) for item in offline.watch.sets] == simulated(frames, offline.config)
    inferred = iter(result.frame for result in offline.results)
    for item in offline.watch.sets:  # the scheduler says who in a set goes first
        assert set(item.frames) == set(islice(inferred, len(item.frames)))
    lost = [drop for drop in offline.watch.drops if drop.reason.value != 'missing']
    assert len(offline.results) + len(lost) == len(frames)


@settings(max_examples=15, deadline=None)
@given(frames=recordings(), rehearsed=st.integers(0, 36))
def test_a_rehearsed_beginning_changes_nothing_of_the_rest(
    frames: list[Frame], rehearsed: int
) -> None:
    whole = Offline(frames, models=('fake', 'other'))
    rest = Offline(frames, models=('fake', 'other'), rehearsed=rehearsed)
    for model in ('fake', 'other'):
        left = [item for item in rest.answers() if item[2] == model]
        all_of_it = [item for item in whole.answers() if item[2] == model]
        assert left == all_of_it[len(all_of_it) - len(left):]
    assert [named(item) for item in rest.watch.sets] == [named(item) for item in whole.watch.sets]


def test_a_slow_engine_makes_the_same_batches() -> None:
    """Live, the newest frame would win and others be dropped as stale."""
    frames = [frame(name, 1000 + 33 * i) for i in range(5) for name in CAMERAS]
    slow = Offline(frames, duration_ms=20.0, max_age_ms=1.0)
    fast = Offline(frames, max_age_ms=1.0)
    assert slow.engines['fake'].calls == fast.engines['fake'].calls == [2, 1] * 5
    assert slow.answers() == fast.answers()
    assert not slow.watch.drops


def test_all_that_waits_at_the_end_is_inferred() -> None:
    """Sets that leave together go one after the other: none gives way to a newer one."""
    frames = [frame('a', 1000 + i) for i in range(4)]
    offline = Offline(frames, synchronizer={'tolerance_ms': 0.0, 'max_wait_ms': 5000.0})
    assert len(offline.results) == 4


def test_results_say_what_the_work_took_and_how_long_they_waited_in_recorded_time() -> None:
    taken: list[Result] = []

    class Kept(Watch):
        def inferred(self, result: Result) -> None:
            taken.append(result)

    bundle = fake_bundle()
    with FakeEngine(bundle, max_batch=2) as engine:
        pipeline = OfflinePipeline(
            configured(), {'fake': Model('fake', bundle.manifest, engine)}, lambda result: None,
            statistics=Kept(),
        )
        pipeline.receive(frame('a', 1000))
        pipeline.receive(frame('a', 1100))
        pipeline.settle()
    [result] = taken
    assert result.passage
    times_ns = result.passage.stages_ns()
    assert times_ns['synchronize'] == 40 * MS, 'the deadline, between the frames'
    assert times_ns['schedule'] == 0, 'the next turn is at once: no machine is too slow'
    assert times_ns['infer'] > 0
    assert times_ns.pop('total') == sum(times_ns.values())
    points_ns = list(result.passage[1:])
    assert points_ns == sorted(points_ns), 'on one clock, though work is measured on another'
    assert points_ns[:2] == [1000 * MS, 1040 * MS], 'which is that of the recording'


@pytest.mark.parametrize(
    ('stamps_ms', 'times_ms'),
    [
        ([('a', 1000), ('b', 990), ('a', 1033)], [1000, 1000, 1033]),
        ([('a', 9000), ('b', 1000), ('b', 1033), ('a', 9033)], [9000, 9000, 9033, 9033]),
        ([('a', 9000), ('a', 1000), ('a', 1033)], [9000, 9000, 9033]),
        ([('a', 1000), ('a', 5000)], [1000, 5000]),
    ],
    ids=['a bit late', 'a clock of its own', 'set back', 'a gap'],
)
def test_recorded_time_never_goes_back(
    stamps_ms: list[tuple[str, int]], times_ms: list[int]
) -> None:
    time = RecordedTime()
    assert [time.pass_to(camera, stamp * MS) // MS for camera, stamp in stamps_ms] == times_ms
