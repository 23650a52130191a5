"""Ways to choose what runs next: ours, and those that it is held against."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from perception_ros.benchmarks.scheduling.scenario import Scenario
from perception_ros.core.config import load_config
from perception_ros.core.scheduler import Scheduler
from perception_ros.core.types import Frame, FrameSet

_MODEL = 'm'


class Policy(Protocol):
    """Takes frames and gives calls; what it gives never, it has shed."""

    def submit(self, frame: Frame) -> None:
        """Take in a frame, at the time at which it comes."""

    def next_call(self, now_ns: int) -> Sequence[Frame]:
        """Return the frames of the next call, which starts now; none: nothing is to run."""

    def wake_ns(self) -> int | None:
        """Return when to ask again although nothing comes; None: never."""

    def note_call(self, size: int, duration_ns: int) -> None:
        """Take in how long a call took, from when it was given."""


class Ours:
    """The scheduler of the node."""

    def __init__(self, scenario: Scenario, deadline_ms: float = 0.0) -> None:
        config = load_config({
            'cameras': {camera.name: {'priority': camera.priority} for camera in scenario.cameras},
            'models': {_MODEL: {
                'preferred_batch': scenario.max_batch,
                'max_queue_delay_ms': scenario.delay_ms,
                'deadline_ms': deadline_ms,
            }},
        })
        self._scheduler = Scheduler(config, {_MODEL: scenario.max_batch})

    def submit(self, frame: Frame) -> None:
        """Let it wait, as a set of its own: the cameras have no common trigger."""
        self._scheduler.submit(FrameSet((frame,), (), frame.received_ns))

    def next_call(self, now_ns: int) -> Sequence[Frame]:
        """Ask the scheduler."""
        batch = self._scheduler.next_batch(_MODEL, now_ns)
        self._scheduler.take_drops()
        return batch.frames if batch else ()

    def wake_ns(self) -> int | None:
        """Ask the scheduler."""
        return self._scheduler.wake_ns(_MODEL)

    def note_call(self, size: int, duration_ns: int) -> None:
        """Tell the scheduler."""
        self._scheduler.note_call(_MODEL, size, duration_ns)


class Queue:
    """First in, first out; a call takes what waits. With a depth, the oldest frame gives way."""

    def __init__(self, scenario: Scenario, depth: int | None = None) -> None:
        self._max_batch = scenario.max_batch
        self._waiting: deque[Frame] = deque(maxlen=depth)

    def submit(self, frame: Frame) -> None:
        """Put it at the end."""
        self._waiting.append(frame)

    def next_call(self, now_ns: int) -> Sequence[Frame]:
        """Return the oldest."""
        return self._take(self._max_batch)

    def wake_ns(self) -> int | None:
        """Never: only what comes changes anything."""
        return None

    def note_call(self, size: int, duration_ns: int) -> None:
        """Learn nothing from it."""

    def _take(self, most: int) -> Sequence[Frame]:
        return [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]


class DynamicBatcher(Queue):
    """Triton's dynamic batcher by its documentation: preferred size, longest queue delay.

    A call of the preferred size goes as soon as so many wait. Fewer go once the oldest of them has
    waited for the delay. The queue is first in, first out and has no limit, as is its default.
    """

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(scenario)
        self._delay_ns = round(scenario.delay_ms * 1e6)
        self._wake_ns: int | None = None

    def next_call(self, now_ns: int) -> Sequence[Frame]:
        """Return a full call, or what has waited long enough."""
        self._wake_ns = None
        if 0 < len(self._waiting) < self._max_batch:
            due_ns = self._waiting[0].received_ns + self._delay_ns
            if now_ns < due_ns:
                self._wake_ns = due_ns
                return ()
        return self._take(self._max_batch)

    def wake_ns(self) -> int | None:
        """Return when the oldest has waited long enough."""
        return self._wake_ns


POLICIES: dict[str, Callable[[Scenario], Policy]] = {
    'ours': Ours,
    'ours, deadline': lambda scenario: Ours(scenario, scenario.deadline_ms),
    'dynamic batcher': DynamicBatcher,
    'queue': Queue,
    'queue of 2 calls': lambda scenario: Queue(scenario, 2 * scenario.max_batch),
}
"""By the names that tables have."""
