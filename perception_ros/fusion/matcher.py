"""Which images belong to which LiDAR sweep: a pure state machine.

    matcher.push_sweep(sweep)                       # whenever a sweep comes in
    matcher.push(camera, output, stamp_ns, value, received_ns)    # what is said about an image
    matcher.poll(now_ns)                            # -> the sweeps that are ready, in order
    matcher.next_deadline_ns()                      # -> when to poll again if nothing comes in

It never blocks, calls nobody back and holds no lock: its owner serialises the calls.

What is known about one image (its boxes, its masks: the *outputs*) gathers under its stamp. To a
sweep belongs, of each camera, the image whose stamp is nearest to the sweep's plus the camera's
offset, within the tolerance. A sweep leaves when that can no longer change for any camera that is
expected, or when it has waited `max_wait_ms`.

What holds, whatever comes in:

- every sweep leaves exactly once, in the order in which they came, with what there is;
- what is said about one image is never mixed with another's;
- a camera that fell silent, that is always too late, or whose clock is another one, is waited for
  by `LOST_AFTER` sweeps and no longer, and so is an output that a camera no longer has; what comes
  in while it is of use brings them back;
- memory is bounded: `MOST_IMAGES` of each camera, `MOST_SWEEPS` that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from perception_ros.fusion.types import Sweep

LOST_AFTER = 3
"""A camera that is missing from so many sweeps in a row is not waited for, until it is back."""
MOST_IMAGES = 24
"""Remembered of each camera: a second of 24 Hz, which is more than results are late."""
MOST_SWEEPS = 8
JUMP_NS = 1_000_000_000
"""A stamp this far behind the newest is that of a clock that was set back."""
_PERIODS = 5


@dataclass(frozen=True, slots=True, eq=False)
class MatchedImage:
    """What is known about one image: output -> what was pushed."""

    stamp_ns: int
    outputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class MatchedSweep:
    """A sweep, and of each camera the image that belongs to it, if there is one.

    apart_ns: of the missing cameras that have any images, how much later than the sweep's stamp
    and the camera's offset the nearest one was taken.
    """

    sweep: Sweep
    images: Mapping[str, MatchedImage]
    missing: tuple[str, ...]
    apart_ns: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Image:
    outputs: dict[str, Any] = field(default_factory=dict)


class _Departed(NamedTuple):
    """A sweep that has left, for one camera: the stamp that it wanted, and until when it waits."""

    target_ns: int
    deadline_ns: int
    is_missing: bool


@dataclass(slots=True)
class _Camera:
    """What is remembered of one camera. Stamps are in order."""

    outputs: tuple[str, ...]
    offset_ns: int
    images: dict[int, _Image] = field(default_factory=dict)
    silent: dict[str, int] = field(default_factory=dict)
    """Output -> images in a row that went without it."""
    missed: int = 0
    """Sweeps in a row."""
    newest_ns: int = 0
    intervals_ns: deque[int] = field(default_factory=lambda: deque(maxlen=_PERIODS))
    departed: deque[_Departed] = field(default_factory=lambda: deque(maxlen=MOST_SWEEPS))

    @property
    def is_expected(self) -> bool:
        return self.missed < LOST_AFTER

    @property
    def period_ns(self) -> int:
        """Return the median time between images; 0: not known."""
        if not self.intervals_ns:
            return 0
        return sorted(self.intervals_ns)[len(self.intervals_ns) // 2]

    def take(self, output: str, stamp_ns: int, value: Any, *, is_useful: bool) -> None:
        """Remember what is said about an image; the oldest gives way.

        :param is_useful: to wait for it would have paid, or will.
        """
        if is_useful:
            self.missed = self.silent[output] = 0
        if stamp_ns < self.newest_ns - JUMP_NS:
            self.images.clear()
            self.newest_ns = 0
            self.intervals_ns.clear()
        if stamp_ns > self.newest_ns > 0:
            self.intervals_ns.append(stamp_ns - self.newest_ns)
        self.newest_ns = max(self.newest_ns, stamp_ns)
        self.images.setdefault(stamp_ns, _Image()).outputs[output] = value
        if len(self.images) > MOST_IMAGES:
            del self.images[min(self.images)]

    def of_departed(self, stamp_ns: int, tolerance_ns: int) -> _Departed | None:
        """Return the last sweep that has left and could have had an image of this stamp."""
        near = (
            sweep for sweep in reversed(self.departed)
            if abs(stamp_ns - sweep.target_ns) <= tolerance_ns
        )
        return next(near, None)

    def is_ahead(self, stamp_ns: int) -> bool:
        """Say whether an image is newer than what the last sweep wanted, so of use to the next."""
        return not self.departed or stamp_ns > self.departed[-1].target_ns

    def is_whole(self, image: _Image) -> bool:
        """Say whether nothing more is expected about an image."""
        return all(
            output in image.outputs or self.silent.get(output, 0) >= LOST_AFTER
            for output in self.outputs
        )

    def nearest(self, target_ns: int) -> int | None:
        """Return the stamp of the image that is nearest to a time; None: there is none."""
        return min(self.images, key=lambda stamp: abs(stamp - target_ns), default=None)

    def is_settled(self, target_ns: int, tolerance_ns: int) -> bool:
        """Say whether the nearest image is there, whole, and no nearer one can come."""
        near = self.nearest(target_ns)
        if near is None or abs(near - target_ns) > tolerance_ns:
            return self.newest_ns > target_ns + tolerance_ns
        if not self.is_whole(self.images[near]):
            return False
        return self.newest_ns >= target_ns or 2 * (target_ns - near) <= self.period_ns

    def given_to_sweep(self, stamp_ns: int) -> dict[str, Any]:
        """Return what is known about an image, and note which outputs it goes without."""
        known = self.images[stamp_ns].outputs  # in the configured order, not that of arrival
        given = {output: known[output] for output in self.outputs if output in known}
        for output in self.outputs:
            self.silent[output] = 0 if output in given else self.silent.get(output, 0) + 1
        return given


class SweepMatcher:
    """Brings sweeps and images together.

    :param cameras: camera -> the outputs that are fused of it; offsets_ms: by camera.
    """

    def __init__(
        self,
        cameras: Mapping[str, Iterable[str]],
        offsets_ms: Mapping[str, float],
        *,
        tolerance_ms: float,
        max_wait_ms: float,
    ) -> None:
        self._cameras = {
            name: _Camera(tuple(outputs), round(offsets_ms.get(name, 0) * 1e6))
            for name, outputs in cameras.items()
        }
        self._tolerance_ns = round(tolerance_ms * 1e6)
        self._max_wait_ns = round(max_wait_ms * 1e6)
        self._waiting: deque[Sweep] = deque()
        self.late = dict.fromkeys(self._cameras, 0)
        """Outputs of each camera that came when their sweep had left without the camera."""

    def push_sweep(self, sweep: Sweep) -> None:
        """Take in a sweep."""
        self._waiting.append(sweep)

    def push(
        self, camera: str, output: str, stamp_ns: int, value: Any, received_ns: int
    ) -> None:
        """Take in what is said about the image of a camera with this stamp.

        :param received_ns: when it came, on the clock of `Sweep.received_ns`.
        """
        its = self._cameras[camera]
        sweep = its.of_departed(stamp_ns, self._tolerance_ns)
        if sweep and sweep.is_missing:
            self.late[camera] += 1
        in_time = sweep is not None and received_ns <= sweep.deadline_ns
        its.take(output, stamp_ns, value, is_useful=in_time or its.is_ahead(stamp_ns))

    def poll(self, now_ns: int) -> list[MatchedSweep]:
        """Return the sweeps that are ready at `now_ns`, on the clock of `Sweep.received_ns`."""
        ready = []
        while self._waiting:
            sweep = self._waiting[0]
            overdue = now_ns - sweep.received_ns >= self._max_wait_ns
            if not (overdue or len(self._waiting) > MOST_SWEEPS or self._is_ready(sweep)):
                break
            ready.append(self._matched(self._waiting.popleft()))
        return ready

    def next_deadline_ns(self) -> int | None:
        """Return when the oldest sweep leaves if nothing comes in; None: none waits."""
        return self._waiting[0].received_ns + self._max_wait_ns if self._waiting else None

    def flush(self) -> list[MatchedSweep]:
        """Let all sweeps go with what there is, as at the end of a recording."""
        ready = [self._matched(sweep) for sweep in self._waiting]
        self._waiting.clear()
        return ready

    def _is_ready(self, sweep: Sweep) -> bool:
        return all(
            camera.is_settled(sweep.stamp_ns + camera.offset_ns, self._tolerance_ns)
            for camera in self._cameras.values() if camera.is_expected
        )

    def _matched(self, sweep: Sweep) -> MatchedSweep:
        images, missing, apart_ns = {}, [], {}
        for name, camera in self._cameras.items():
            target_ns = sweep.stamp_ns + camera.offset_ns
            stamp_ns = camera.nearest(target_ns)
            is_missing = stamp_ns is None or abs(stamp_ns - target_ns) > self._tolerance_ns
            camera.departed.append(
                _Departed(target_ns, sweep.received_ns + self._max_wait_ns, is_missing)
            )
            if stamp_ns is not None and not is_missing:
                camera.missed = 0
                images[name] = MatchedImage(stamp_ns, camera.given_to_sweep(stamp_ns))
                continue
            camera.missed += 1
            missing.append(name)
            if stamp_ns is not None:
                apart_ns[name] = stamp_ns - target_ns
        return MatchedSweep(sweep, images, tuple(missing), apart_ns)
