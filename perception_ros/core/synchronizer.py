"""Which frames of N cameras belong together: a pure state machine.

    synchronizer.push(frame)          # whenever a frame comes in
    synchronizer.poll(now_ns)         # -> the frame sets that are ready
    synchronizer.take_drops()         # -> what was dropped since the last call, and why
    synchronizer.next_deadline_ns()   # -> when to poll again if nothing comes in

It never blocks, calls nobody back and holds no lock: its owner serialises the calls.

Frames gather in *groups* of nearly equal stamps, at most one frame a camera. A group becomes a set
when every camera that is expected has its frame in it, or, under the policy *deadline*, when its
oldest frame has waited `max_wait_ms`. The policies are one machine with two numbers:

    policy       largest difference of stamps   longest wait
    exact        0                              for ever: only complete sets
    approximate  tolerance_ms                   for ever: only complete sets
    deadline     tolerance_ms                   max_wait_ms: then incomplete, naming who is missing

What holds, whatever comes in:

- every frame is emitted once, or dropped with a reason, or still waiting in bounded memory;
- the frames of one camera leave in the order of their stamps, until its clock jumps;
- under *deadline* a camera that fell silent is waited for in `LOST_AFTER` sets and no longer, and
  its first frame brings it back; a slower camera is waited for only when its next frame is due; a
  frame that comes after its set has left is not lost, it travels in a set of its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import logging
from statistics import median
from typing import Protocol

from perception_ros.core.config import SynchronizerConfig
from perception_ros.core.types import Drop, DropReason, Frame, FrameSet

_log = logging.getLogger(__name__)

LOST_AFTER = 3
"""A camera missing from this many sets in a row is no longer waited for, until it comes back."""

MAX_GROUPS = 32
"""Open groups beyond this are closed, oldest first: one second of a 30 Hz camera that is alone."""

JUMP_NS = 1_000_000_000
"""A stamp this far behind its camera's newest is no disorder but a clock that was set back."""

DUE_AFTER = 0.75
"""A camera's next frame is due this part of its period after its last one: a camera of 10 Hz
beside others of 30 Hz has nothing for two sets of three, and they need not wait for it."""

PERIODS = 5
"""A camera's period is the median of so many intervals, which no single gap can move."""

JUMP_RUN = 3
"""So are this many frames in a row older than what has already left: a smaller step back."""


TELL_NS = 5_000_000_000
"""A camera's clock that jumps again and again is told of this often, by `Frame.received_ns`."""


class Matcher(Protocol):
    """What the pipeline needs of a synchroniser; the calls never overlap."""

    clock_jumps: dict[str, int]
    """How often each camera's clock was set back."""

    def push(self, frame: Frame) -> None:
        """Take one frame in."""

    def poll(self, now_ns: int) -> list[FrameSet]:
        """Return the sets that are ready at `now_ns`, on the clock of `Frame.received_ns`."""

    def next_deadline_ns(self) -> int | None:
        """Return when `poll` has something even if nothing comes in; None: not before that."""

    def flush(self, now_ns: int) -> list[FrameSet]:
        """Close everything, as at the end of a recording, and return the sets."""

    def take_drops(self) -> list[Drop]:
        """Return the drop records since the last call."""


@dataclass(slots=True)
class _Group:
    """Frames that will leave together. All stamps carry their camera's offset."""

    founded_ns: int
    deadline_ns: int
    stamps: dict[str, int] = field(default_factory=dict)
    frames: dict[str, Frame] = field(default_factory=dict)
    earliest_ns: int = field(init=False)
    latest_ns: int = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the stamp that it was founded for."""
        self.earliest_ns = self.latest_ns = self.founded_ns

    def join(self, frame: Frame, stamp_ns: int) -> None:
        """Take a frame in."""
        self.frames[frame.camera] = frame
        self.stamps[frame.camera] = stamp_ns
        self.earliest_ns = min(self.earliest_ns, stamp_ns)
        self.latest_ns = max(self.latest_ns, stamp_ns)

    def spread_with(self, stamp_ns: int) -> int:
        """Return the largest difference of stamps if one at `stamp_ns` joined."""
        return max(self.latest_ns, stamp_ns) - min(self.earliest_ns, stamp_ns)


@dataclass(slots=True)
class _Camera:
    """What is remembered of one camera between frames."""

    offset_ns: int
    newest_ns: int | None = None
    left_ns: int | None = None
    behind: int = 0
    missed: int = 0
    told_ns: int | None = None
    intervals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=PERIODS))

    def advance(self, stamp_ns: int) -> None:
        """Remember the stamp of a frame that was accepted."""
        if self.newest_ns is None or stamp_ns > self.newest_ns:
            if self.newest_ns is not None:
                self.intervals_ns.append(stamp_ns - self.newest_ns)
            self.newest_ns = stamp_ns

    def is_due(self, stamp_ns: int) -> bool:
        """Say whether a frame of about this stamp is to be expected by the camera's own rate."""
        if self.newest_ns is None or len(self.intervals_ns) < PERIODS:
            return True
        return stamp_ns >= self.newest_ns + DUE_AFTER * median(self.intervals_ns)


class Synchronizer(Matcher):
    """Match the frames of `cameras` by stamp.

    :param cameras: names, in the order in which a set lists its frames.
    :param offsets_ms: added to a camera's stamps for matching only; 0 for those not named.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        config: SynchronizerConfig,
        offsets_ms: Mapping[str, float] | None = None,
    ) -> None:
        if config.policy == 'message_filters':
            raise ValueError("policy 'message_filters' is made by perception_ros.ros.filters")
        offsets = offsets_ms or {}
        self.clock_jumps = dict.fromkeys(cameras, 0)
        self._cameras = {c: _Camera(round(offsets.get(c, 0.0) * 1e6)) for c in cameras}
        self._tolerance_ns = 0 if config.policy == 'exact' else round(config.tolerance_ms * 1e6)
        self._partial = config.policy == 'deadline'
        self._max_wait_ns = round(config.max_wait_ms * 1e6)
        # Along this list the stamps of each camera rise: closing from the front keeps their order.
        self._groups: list[_Group] = []
        self._ready: list[tuple[tuple[Frame, ...], tuple[str, ...]]] = []
        self._departed: deque[_Group] = deque(maxlen=MAX_GROUPS)
        self._drops: list[Drop] = []

    def push(self, frame: Frame) -> None:
        """Take one frame in.

        :raises KeyError: its camera is not one of `cameras`.
        """
        name, camera = frame.camera, self._cameras[frame.camera]
        stamp_ns = frame.stamp_ns + camera.offset_ns
        if self._clock_was_set_back(camera, stamp_ns):
            self._forget(name, stamp_ns, frame.received_ns)
        if camera.left_ns is not None and stamp_ns <= camera.left_ns:
            same = stamp_ns == camera.left_ns
            self._drop(frame, DropReason.DUPLICATE if same else DropReason.OUT_OF_ORDER)
            return
        if any(group.stamps.get(name) == stamp_ns for group in self._groups):
            self._drop(frame, DropReason.DUPLICATE)
            return

        camera.advance(stamp_ns)
        if self._in_time(frame, stamp_ns):
            camera.missed = 0
        group = self._group_for(name, stamp_ns, frame.received_ns + self._max_wait_ns)
        group.join(frame, stamp_ns)
        if self._is_complete(group):
            self._close(group)
        while len(self._groups) > MAX_GROUPS:
            self._close(self._groups[0])

    def poll(self, now_ns: int) -> list[FrameSet]:
        """Return the sets that are ready at `now_ns`, on the clock of `Frame.received_ns`."""
        if self._partial:
            while due := [g for g in self._groups if g.deadline_ns <= now_ns]:
                self._close(due[0])
        ready, self._ready = self._ready, []
        return [FrameSet(frames, missing, now_ns) for frames, missing in ready]

    def next_deadline_ns(self) -> int | None:
        """Return when `poll` has something even if nothing comes in; None: not before that."""
        if self._ready:
            return 0
        if not self._partial:
            return None
        return min((group.deadline_ns for group in self._groups), default=None)

    def flush(self, now_ns: int) -> list[FrameSet]:
        """Close every group, as at the end of a recording, and return the sets."""
        while self._groups:
            self._close(self._groups[0])
        return self.poll(now_ns)

    def take_drops(self) -> list[Drop]:
        """Return the drop records since the last call."""
        drops, self._drops = self._drops, []
        return drops

    # ---------------------------------------------------------------------------- gathering

    def _group_for(self, name: str, stamp_ns: int, deadline_ns: int) -> _Group:
        """Return the group for a camera's frame: the nearest that has room, or a new one."""
        first, last = 0, len(self._groups)  # a new group goes to one of first..last
        for index, group in enumerate(self._groups):
            if group.stamps.get(name, stamp_ns) < stamp_ns:
                first = index + 1
            elif group.stamps.get(name, stamp_ns) > stamp_ns:
                last = index
                break
        open_to_it = self._groups[first:last]
        near = [g for g in open_to_it if g.spread_with(stamp_ns) <= self._tolerance_ns]
        if near:
            return min(near, key=lambda group: abs(group.founded_ns - stamp_ns))
        group = _Group(stamp_ns, deadline_ns)
        earlier = sum(g.founded_ns <= stamp_ns for g in open_to_it)
        self._groups.insert(first + earlier, group)
        return group

    def _is_complete(self, group: _Group) -> bool:
        return all(
            name in group.frames or (self._partial and not self._is_expected(camera, group))
            for name, camera in self._cameras.items()
        )

    def _is_expected(self, camera: _Camera, group: _Group) -> bool:
        """Say whether it is worth waiting for this camera's frame in this group."""
        return camera.missed < LOST_AFTER and self._is_owed(camera, group.earliest_ns)

    def _is_owed(self, camera: _Camera, stamp_ns: int) -> bool:
        """Say whether the camera should have a frame of about this stamp that has not left."""
        return camera.is_due(stamp_ns) and not self._has_passed(camera, stamp_ns)

    def _has_passed(self, camera: _Camera, stamp_ns: int) -> bool:
        """Say whether what this camera saw at that time has already left."""
        return camera.left_ns is not None and camera.left_ns >= stamp_ns - self._tolerance_ns

    def _in_time(self, frame: Frame, stamp_ns: int) -> bool:
        """Say whether waiting for this camera would have paid: its partners are here, or to come.

        Without this a camera that is always too late, or whose clock lags, would be waited for in
        every set, in vain.
        """
        for group in reversed(self._departed):
            if group.spread_with(stamp_ns) <= self._tolerance_ns:
                return frame.received_ns <= group.deadline_ns
        others = (camera for name, camera in self._cameras.items() if name != frame.camera)
        return not all(self._has_passed(camera, stamp_ns) for camera in others)

    # ------------------------------------------------------------------------------ closing

    def _close(self, group: _Group) -> None:
        """Make the group a set, or drop it, after every earlier group that shares a camera."""
        for earlier in self._groups[: self._groups.index(group)]:
            if earlier in self._groups and earlier.frames.keys() & group.frames.keys():
                self._close(earlier)
        self._groups.remove(group)
        if not (self._partial or self._is_complete(group)):
            for frame in group.frames.values():
                self._drop(frame, DropReason.UNMATCHED)
            return
        missing = tuple(
            name
            for name, camera in self._cameras.items()
            if name not in group.frames and self._is_owed(camera, group.earliest_ns)
        )
        stamp_ns = min(frame.stamp_ns for frame in group.frames.values())
        for name in missing:
            self._cameras[name].missed += 1
            self._drops.append(Drop(name, DropReason.MISSING, stamp_ns))
        for name, left_ns in group.stamps.items():
            self._cameras[name].left_ns = left_ns
        frames = tuple(group.frames[name] for name in self._cameras if name in group.frames)
        self._ready.append((frames, missing))
        group.frames = {}  # only its stamps are remembered: images are large
        self._departed.append(group)

    def _drop(self, frame: Frame, reason: DropReason) -> None:
        self._drops.append(Drop(frame.camera, reason, frame.stamp_ns))

    # --------------------------------------------------------------------------- clock jumps

    def _clock_was_set_back(self, camera: _Camera, stamp_ns: int) -> bool:
        if camera.newest_ns is None:
            return False
        if camera.left_ns is None or stamp_ns > camera.left_ns:
            camera.behind = 0
        elif stamp_ns < camera.left_ns:
            camera.behind += 1
        return camera.newest_ns - stamp_ns > JUMP_NS or camera.behind >= JUMP_RUN

    def _tell_of_jump(self, name: str, stamp_ns: int, received_ns: int) -> None:
        """Log it now and then: two drivers on one topic would jump with every frame."""
        camera = self._cameras[name]
        if camera.told_ns is not None and received_ns - camera.told_ns < TELL_NS:
            return
        camera.told_ns = received_ns
        _log.warning(
            'camera %s: its clock was set back by %.3f s (%d times so far)',
            name,
            ((camera.newest_ns or stamp_ns) - stamp_ns) / 1e9,
            self.clock_jumps[name],
        )

    def _forget(self, name: str, stamp_ns: int, received_ns: int) -> None:
        """Begin afresh with a camera whose clock jumped; what it has waiting leaves first."""
        self.clock_jumps[name] += 1
        self._tell_of_jump(name, stamp_ns, received_ns)
        while waiting := [g for g in self._groups if name in g.frames]:
            self._close(waiting[0])
        camera = self._cameras[name]
        camera.newest_ns = camera.left_ns = None
        camera.intervals_ns.clear()
        camera.behind = 0
        recent = [group for group in self._departed if group.founded_ns <= stamp_ns]
        self._departed = deque(recent, maxlen=MAX_GROUPS)
