"""The policy `message_filters`: the distribution's ApproximateTimeSynchronizer as a matcher.

For teams whose other nodes match that way and who want the same sets here. Its known limits are
its own: no set at all while one camera is silent, none after a clock that was set back until it
has caught up, and none ever with a tolerance of 0, for it asks for less than that. The policy
`deadline` has none of these.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from rclpy.time import Time

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.core.synchronizer import Matcher
from perception_ros.core.types import Drop, DropReason, Frame, FrameSet

QUEUE_SIZE = 10
"""Frames of one camera that wait for partners, as in message_filters' own examples."""


def make_matcher(config: PerceptionConfig) -> Matcher | None:
    """Return the matcher for a policy that the core does not have; None: the core has it.

    :raises ConfigError: message_filters is asked for and not installed.
    """
    if config.synchronizer.policy != 'message_filters':
        return None
    return MessageFiltersMatcher(config)


class MessageFiltersMatcher:
    """The same contract as `core.synchronizer.Synchronizer`, kept by message_filters."""

    def __init__(self, config: PerceptionConfig) -> None:
        try:
            import message_filters
        except ImportError as error:
            raise ConfigError(
                'synchronizer.policy is message_filters, which is not installed here '
                f'({error}): source a ROS 2 distribution that has it, or use policy deadline'
            ) from error
        self.clock_jumps = dict.fromkeys(config.cameras, 0)
        self._filters = message_filters
        self._slop_s = config.synchronizer.tolerance_ms / 1e3
        self._offsets_ns = {
            name: round(camera.time_offset_ms * 1e6) for name, camera in config.cameras.items()
        }
        self._ready: list[tuple[Frame, ...]] = []
        self._drops: list[Drop] = []
        self._begin()

    def _begin(self) -> None:
        """Start with empty queues; message_filters has no other way to empty its own."""
        self._waiting: dict[str, dict[int, Frame]] = {name: {} for name in self._offsets_ns}
        self._inputs = {name: self._filters.SimpleFilter() for name in self._offsets_ns}
        synchronizer = self._filters.ApproximateTimeSynchronizer(
            list(self._inputs.values()), QUEUE_SIZE, self._slop_s
        )
        synchronizer.registerCallback(self._matched)

    def push(self, frame: Frame) -> None:
        """Take one frame in."""
        stamp_ns = frame.stamp_ns + self._offsets_ns[frame.camera]
        waiting = self._waiting[frame.camera]
        if stamp_ns in waiting:
            self._drop(frame, DropReason.DUPLICATE)
            return
        waiting[stamp_ns] = frame
        header = SimpleNamespace(stamp=Time(nanoseconds=stamp_ns))
        self._inputs[frame.camera].signalMessage(SimpleNamespace(header=header, frame=frame))
        while (
            len(waiting) > QUEUE_SIZE
        ):  # message_filters forgets the earliest, and does not say so
            self._drop(waiting.pop(min(waiting)), DropReason.UNMATCHED)

    def poll(self, now_ns: int) -> list[FrameSet]:
        """Return the sets that are ready."""
        ready, self._ready = self._ready, []
        return [FrameSet(frames, (), now_ns) for frames in ready]

    def next_deadline_ns(self) -> int | None:
        """Return None: message_filters acts only when a frame comes."""
        return 0 if self._ready else None

    def flush(self, now_ns: int) -> list[FrameSet]:
        """Drop what waits and return what is ready."""
        for waiting in self._waiting.values():
            for frame in waiting.values():
                self._drop(frame, DropReason.UNMATCHED)
        self._begin()
        return self.poll(now_ns)

    def take_drops(self) -> list[Drop]:
        """Return the drop records since the last call."""
        drops, self._drops = self._drops, []
        return drops

    def _matched(self, *messages: Any) -> None:
        # Must not raise: message_filters would keep its lock, and the next frame wait for ever.
        frames = tuple(message.frame for message in messages)
        for frame in frames:
            stamp_ns = frame.stamp_ns + self._offsets_ns[frame.camera]
            self._waiting[frame.camera].pop(stamp_ns, None)
        self._ready.append(frames)

    def _drop(self, frame: Frame, reason: DropReason) -> None:
        self._drops.append(Drop(frame.camera, reason, frame.stamp_ns))
