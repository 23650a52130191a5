"""The whole way of a frame, without ROS and without a network, but with the real threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import logging
import re
import struct
import threading
import time
from typing import Any
import zlib

import numpy as np
import pytest

from perception_ros.backends.fake import FakeEngine
from perception_ros.core.config import load_config
from perception_ros.core.image import Image
from perception_ros.core.latency import Key
from perception_ros.core.model import InFlight, Model
from perception_ros.core.passage import Passage, STAGES
from perception_ros.core.threaded import ThreadedPipeline
from perception_ros.core.types import Frame, Result
from test.builders import fake_bundle, MS, picture


class Setup:
    """A pipeline over fake engines, its results, and frames that are received now."""

    def __init__(
        self,
        cameras: int = 6,
        max_batch: int = 6,
        duration_ms: float = 0.0,
        publish: Callable[[Result], None] | None = None,
        wanted: Any = None,
        models: Iterable[str] | dict[str, Any] = ('fake',),
        camera: dict[str, Any] | None = None,
        make: Callable[..., ThreadedPipeline] = ThreadedPipeline,
        **config: Any,
    ) -> None:
        self.names = [f'c{n}' for n in range(cameras)]
        config.setdefault('synchronizer', {'max_wait_ms': 20.0})
        config['cameras'] = {name: camera or {} for name in self.names}
        settings = models if isinstance(models, dict) else {name: {} for name in models}
        self.config = load_config({'models': settings, **config})
        bundle = fake_bundle()
        self.engines = {
            name: FakeEngine(bundle, max_batch=max_batch, duration_ms=duration_ms)
            for name in models
        }
        self.results: list[Result] = []
        self.stamp_ms = 1000.0
        self.pipeline = make(
            self.config,
            {name: Model(name, bundle.manifest, engine) for name, engine in self.engines.items()},
            publish or self.results.append,
            wanted=wanted,
        )

    def set_of_frames(self, cameras: list[str] | None = None, **box: Any) -> list[Frame]:
        self.stamp_ms += 33.0
        image = Image.from_array(picture(128, 96, **(box or {'red': (20, 30, 60, 70)})))
        return [
            Frame(name, round(self.stamp_ms * MS), time.monotonic_ns(), image, name)
            for name in (self.names if cameras is None else cameras)
        ]

    def receive(self, frames: list[Frame]) -> None:
        for frame in frames:
            self.pipeline.receive(frame)

    def counters(self) -> dict[str, Any]:
        return self.pipeline.statistics.snapshot()

    def accounted(self) -> int:
        """Return how many frames have been inferred or dropped."""
        counters = self.counters()
        return sum(counters['frames_inferred'].values()) + sum(counters['frames_dropped'].values())

    @contextmanager
    def running(self) -> Iterator[None]:
        self.pipeline.start()
        try:
            yield
        finally:
            self.pipeline.stop()
            for engine in self.engines.values():
                engine.close()


def wait_until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, 'did not happen in time'
        time.sleep(0.002)


@pytest.mark.parametrize(
    ('cameras', 'present', 'calls'),
    [(6, 6, [6]), (6, 5, [5]), (14, 14, [6, 6, 2])],
    ids=['6 cameras 1 call', '5 of 6 present 1 call', '14 frames at most 6 a call'],
)
def test_one_engine_call_serves_all_cameras(cameras: int, present: int, calls: list[int]) -> None:
    setup = Setup(cameras=cameras, max_batch=6)
    with setup.running():
        setup.receive(setup.set_of_frames(setup.names[:present]))
        wait_until(lambda: len(setup.results) == present)
    # Two slots: while one call of 14 runs the next is prepared, so the order of calls is fixed.
    assert setup.engines['fake'].calls == calls
    assert {r.frame.camera for r in setup.results} == set(setup.names[:present])


def test_results_lie_in_each_cameras_own_pixels() -> None:
    """A batch of different sizes: each box goes back through the letterbox of its own frame."""
    setup = Setup(cameras=3)
    sizes = {'c0': (128, 96), 'c1': (640, 200), 'c2': (90, 300)}
    frames = setup.set_of_frames()
    for index, (name, (width, height)) in enumerate(sizes.items()):
        box = (width // 4, height // 3, width // 2, height // 2)
        pixels = picture(width, height, **{('red', 'green', 'blue')[index]: box})
        frames[index] = Frame(
            name, frames[index].stamp_ns, time.monotonic_ns(), Image.from_array(pixels)
        )
    with setup.running():
        setup.receive(frames)
        wait_until(lambda: len(setup.results) == 3)
    for index, result in enumerate(sorted(setup.results, key=lambda r: r.frame.camera)):
        width, height = sizes[result.frame.camera]
        expected = (width // 4, height // 3, width // 2, height // 2)
        assert result.detections is not None
        [box] = result.detections.boxes
        np.testing.assert_allclose(box, expected, atol=1.01 * max(width / 96, height / 64))
        assert result.detections.labels.tolist() == [index]
        mask = result.semantic['ground'].class_ids
        assert mask.shape == (height, width)
        assert mask[height * 5 // 12, width * 3 // 8] == index
        assert mask[0, 0] == 3


def test_every_result_says_where_its_time_went() -> None:
    setup = Setup(cameras=2, duration_ms=5.0)
    with setup.running():
        setup.receive(setup.set_of_frames())
        wait_until(lambda: len(setup.results) == 2)
    taken = setup.pipeline.latency.take()
    stages = {key.stage for key in taken}
    assert stages == set(STAGES) - {'transport'}, 'these frames have no sensor clock'
    for camera in setup.names:
        assert taken[Key(camera, 'fake', 'infer')].max_ns >= 5 * MS
        parts = sum(taken[Key(camera, 'fake', stage)].max_ns for stage in stages - {'total'})
        assert parts == taken[Key(camera, 'fake', 'total')].max_ns, 'the whole, and no ns more'


def test_points_in_time_follow_each_other_on_the_clock_of_the_receipt() -> None:
    """Whoever reads them holds them against times of their own."""
    setup = Setup(cameras=3, duration_ms=5.0)
    accounted: list[Passage] = []

    def account(result: Result) -> None:
        assert result.passage
        accounted.append(result.passage)

    setup.pipeline._account = account  # type: ignore[method-assign]
    began_ns = time.monotonic_ns()
    with setup.running():
        for _ in range(3):
            setup.receive(setup.set_of_frames())
            time.sleep(0.02)
        wait_until(lambda: len(accounted) == 9)
    for passage in accounted:
        points_ns = list(passage[1:])
        assert points_ns == sorted(points_ns)
        assert began_ns <= points_ns[0] and points_ns[-1] <= time.monotonic_ns()


def test_an_engine_that_is_done_before_its_start_returns_has_its_whole_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine the thread that starts it may sleep for as long as it runs."""
    start = InFlight.start

    def slow(self: InFlight) -> None:
        start(self)
        time.sleep(0.03)

    monkeypatch.setattr(InFlight, 'start', slow)
    setup = Setup(cameras=1)
    with setup.running():
        setup.receive(setup.set_of_frames())
        wait_until(lambda: len(setup.results) == 1)
    assert setup.pipeline.latency.take()[Key('c0', 'fake', 'infer')].max_ns >= 30 * MS


def test_an_undecodable_image_costs_only_itself() -> None:
    setup = Setup(cameras=3)
    frames = setup.set_of_frames()
    jpeg = b'\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00'
    frames[1] = Frame('c1', frames[1].stamp_ns, time.monotonic_ns(), truncated_jpeg())
    frames[2] = Frame(
        'c2', frames[2].stamp_ns, time.monotonic_ns(), Image.compressed(jpeg, 'jpeg')
    )
    with setup.running():
        setup.receive(frames)
        wait_until(lambda: len(setup.results) == 1)
        setup.receive(setup.set_of_frames())
        wait_until(lambda: len(setup.results) == 4)
    assert setup.counters()['frames_dropped_by_camera'] == {
        'c1': {'undecodable': 1},
        'c2': {'invalid': 1},
    }


def huge_png() -> Image:
    """Return a file of 33 bytes whose header claims 121 million pixels."""
    header = struct.pack('>4sII5B', b'IHDR', 11000, 11000, 8, 2, 0, 0, 0)
    chunk = struct.pack('>I', 13) + header + struct.pack('>I', zlib.crc32(header))
    return Image.compressed(b'\x89PNG\r\n\x1a\n' + chunk, 'png')


def truncated_jpeg() -> Image:
    import cv2

    data = cv2.imencode('.jpg', picture(128, 96))[1].tobytes()
    return Image.compressed(data[: len(data) // 2], 'jpeg')


@pytest.mark.parametrize(
    ('image', 'stamp_ns', 'says'),
    [
        (Image(b'', 'rgb8', 0, 0, 0), 1, 'at least 1x1'),
        (Image(bytes(100), 'rgb8', 10, 3, 20), 1, 'step'),
        (Image(bytes(300), 'rgb9', 10, 10, 30), 1, 'rgb9'),
        (Image(bytes(300), 'rgb8', 10, 10, 30), 0, 'stamp_source to arrival'),
        (huge_png(), 1, 'says 11000x11000 pixels; expected at most 32 million.*max_megapixels'),
    ],
    ids=['zero size', 'step too small', 'unknown encoding', 'stamp 0', 'a bomb'],
)
def test_a_wrong_description_is_refused_with_advice(
    image: Image, stamp_ns: int, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    setup = Setup(cameras=1)
    with caplog.at_level(logging.WARNING):
        setup.pipeline.receive(Frame('c0', stamp_ns, time.monotonic_ns(), image))
    assert setup.counters()['frames_dropped'] == {'invalid': 1}
    assert re.search(says, caplog.text)
    assert 'c0' in caplog.text


def test_a_camera_may_be_allowed_more_pixels() -> None:
    setup = Setup(cameras=1, camera={'max_megapixels': 130.0})
    setup.pipeline.receive(Frame('c0', 1, time.monotonic_ns(), huge_png()))
    assert setup.counters()['frames_dropped'] == {}


def test_the_newest_frame_wins_while_the_engine_is_busy() -> None:
    """Ten sets come during two slow calls: what is inferred next is the last of them."""
    setup = Setup(cameras=2, duration_ms=150.0, max_age_ms=5000.0)
    with setup.running():
        for _ in range(10):
            setup.receive(setup.set_of_frames())
            time.sleep(0.005)
        newest = round(setup.stamp_ms * MS)
        wait_until(lambda: any(r.frame.stamp_ns == newest for r in setup.results))
    counters = setup.counters()
    assert counters['frames_received'] == {'c0': 10, 'c1': 10}
    assert counters['frames_inferred']['fake'] + counters['frames_dropped']['superseded'] == 20
    assert counters['engine_calls']['fake'] <= 4
    stamps = [r.frame.stamp_ns for r in setup.results if r.frame.camera == 'c0']
    assert stamps == sorted(stamps)


def test_a_call_is_held_back_until_the_cameras_that_are_late_have_come() -> None:
    """Sets of one camera each, as from cameras without a common trigger: one call for two."""
    model = {'preferred_batch': 2, 'max_queue_delay_ms': 400.0}
    setup = Setup(cameras=2, models={'fake': model}, synchronizer={'tolerance_ms': 0.0})
    with setup.running():
        for _ in range(6):
            for camera in setup.names:
                setup.receive(setup.set_of_frames([camera]))
                time.sleep(0.03)
        wait_until(lambda: setup.accounted() == 12)
    assert setup.engines['fake'].calls.count(2) >= 3


def test_a_call_that_is_held_back_goes_when_nothing_comes() -> None:
    """Nothing wakes the thread but its own clock, once c1 has been silent for two periods."""
    model = {'preferred_batch': 2, 'max_queue_delay_ms': 400.0}
    setup = Setup(cameras=2, models={'fake': model})
    with setup.running():
        for _ in range(3):
            setup.receive(setup.set_of_frames())
            time.sleep(0.2)
        began_s = time.monotonic()
        setup.receive(setup.set_of_frames(['c0']))
        wait_until(lambda: len(setup.results) == 7)
        waited_s = time.monotonic() - began_s
    assert setup.engines['fake'].calls[-1] == 1
    assert waited_s > 0.1, 'the synchroniser alone waits for 0.02 s'


def test_a_deadline_that_nothing_makes_sheds_before_the_engine() -> None:
    """Only the probes that the estimate asks for cost a call; all is accounted for."""
    setup = Setup(cameras=1, duration_ms=30.0, models={'fake': {'deadline_ms': 20.0}})
    with setup.running():
        for _ in range(25):
            setup.receive(setup.set_of_frames())
            time.sleep(0.04)
        wait_until(lambda: setup.accounted() == 25)
    counters = setup.counters()
    assert counters['frames_dropped']['late'] >= 18
    assert counters['engine_calls']['fake'] == 25 - sum(counters['frames_dropped'].values())


def test_stages_overlap() -> None:
    """While the engine runs one batch the next is received, prepared and the last one published.

    Counted, not timed: the publisher of the first result waits for the second call to have begun,
    which never comes to pass if the engine waits for the publisher.
    """
    second_call = threading.Event()
    seen: list[bool] = []

    def publish(result: Result) -> None:
        if not seen:
            seen.append(second_call.wait(5.0))

    setup = Setup(cameras=1, duration_ms=20.0, publish=publish)
    engine, run = setup.engines['fake'], setup.engines['fake']._run

    def watched(images: Any) -> Any:
        if engine.calls:
            second_call.set()
        return run(images)

    engine._run = watched  # type: ignore[method-assign]
    with setup.running():
        setup.receive(setup.set_of_frames())
        wait_until(lambda: len(engine.calls) == 1)
        setup.receive(setup.set_of_frames())
        wait_until(lambda: bool(seen))
    assert seen == [True]


class BrokenError(Exception):
    pass


@pytest.mark.parametrize(
    'stage', ['receive', 'prepare', 'start', 'infer', 'restore', 'publish']
)
def test_an_exception_in_any_stage_costs_one_frame(
    stage: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged with its frame and counted, and the next frame is processed."""
    results: list[Result] = []
    armed = [True]

    def break_once(*args: Any) -> None:
        if armed:
            armed.clear()
            raise BrokenError(f'{stage} broke')

    def breaking(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            break_once()
            return function(*args, **kwargs)

        return wrapper

    def publish(result: Result) -> None:
        if stage == 'publish':
            break_once()
        results.append(result)

    setup = Setup(cameras=1, publish=publish)
    target, name = {
        'receive': (setup.pipeline._synchronizer, 'push'),
        'prepare': (Model, 'prepare'),
        'start': (InFlight, 'start'),
        'infer': (setup.engines['fake'], '_run'),
        'restore': (Model, 'restore'),
        'publish': (setup, 'names'),
    }[stage]
    if stage != 'publish':
        monkeypatch.setattr(target, name, breaking(getattr(target, name)))
    with caplog.at_level(logging.WARNING), setup.running():
        for count in (1, 2, 3):
            setup.receive(setup.set_of_frames())
            wait_until(lambda count=count: setup.accounted() == count)  # type: ignore[misc]
    assert len(results) == 2
    assert setup.counters()['frames_dropped'] == {'failed': 1}
    assert 'c0' in caplog.text
    assert f'{stage} broke' in caplog.text


def test_nobody_listens_nothing_is_computed() -> None:
    listening: set[str] = set()
    setup = Setup(
        cameras=2,
        wanted=lambda camera, model: frozenset({'detections'} if camera in listening else ()),
    )
    with setup.running():
        setup.receive(setup.set_of_frames())
        time.sleep(0.05)
        assert setup.engines['fake'].calls == []
        assert setup.counters()['frames_dropped'] == {'unwanted': 2}, 'and every frame is counted'
        listening.add('c1')
        setup.receive(setup.set_of_frames())
        wait_until(lambda: len(setup.results) == 1)
    [result] = setup.results
    assert result.frame.camera == 'c1'
    assert result.detections is not None
    assert result.semantic == {}, 'only what is wanted is restored'


def test_several_models_share_the_frames() -> None:
    setup = Setup(cameras=2, models=('a', 'b'))
    with setup.running():
        setup.receive(setup.set_of_frames())
        wait_until(lambda: len(setup.results) == 4)
    assert {(r.frame.camera, r.model) for r in setup.results} == {
        (camera, model) for camera in ('c0', 'c1') for model in ('a', 'b')
    }
    assert all(engine.calls == [2] for engine in setup.engines.values())


def test_stop_accounts_for_every_frame() -> None:
    setup = Setup(cameras=3, duration_ms=30.0)
    with setup.running():
        for _ in range(20):
            setup.receive(setup.set_of_frames())
            time.sleep(0.004)
    assert setup.accounted() == sum(setup.counters()['frames_received'].values()) == 60


@pytest.mark.parametrize('method', ['submit', 'next_batch'])
def test_errors_in_scheduling_neither_end_a_thread_nor_keep_a_slot(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two in a row would use up both slots of the engine if an error kept one."""
    setup = Setup(cameras=3)
    original, errors = getattr(setup.pipeline.scheduler, method), [1, 2, 3]

    def failing(*args: Any) -> Any:
        if errors:
            errors.pop()
            raise BrokenError(f'{method} broke')
        return original(*args)

    monkeypatch.setattr(setup.pipeline.scheduler, method, failing)
    with setup.running():
        deadline = time.monotonic() + 10
        while not setup.results:
            assert time.monotonic() < deadline
            setup.receive(setup.set_of_frames())
            time.sleep(0.05)
    received = sum(setup.counters()['frames_received'].values())
    assert setup.accounted() == received, 'every frame has its result or its record'


def test_one_cameras_defect_costs_the_batch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only images that are known to be bad: any error while one of them is prepared."""
    setup = Setup(cameras=3)
    original = Model.decode

    def failing(self: Model, frame: Frame) -> Any:
        if frame.camera == 'c1':
            raise BrokenError('c1 broke')
        return original(self, frame)

    monkeypatch.setattr(Model, 'decode', failing)
    with setup.running():
        setup.receive(setup.set_of_frames())
        wait_until(lambda: setup.accounted() == 3)
    assert {r.frame.camera for r in setup.results} == {'c0', 'c2'}
    assert setup.counters()['frames_dropped_by_camera'] == {'c1': {'failed': 1}}


def test_a_broken_engine_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    setup = Setup(cameras=1)

    def fail(images: Any) -> Any:
        raise BrokenError('engine broke')

    setup.engines['fake']._run = fail  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING), setup.running():
        for count in range(1, 31):
            setup.receive(setup.set_of_frames())
            wait_until(lambda count=count: setup.accounted() == count)  # type: ignore[misc]
    assert caplog.text.count('Traceback') == 1
    assert setup.counters()['frames_dropped'] == {'failed': 30}
