"""A tree of frames over time, as tf2 keeps it: where each frame was in each other one, and when.

Plain bookkeeping without a clock, a lock or ROS: whoever shares it between threads locks it.
Stamps are in ns, matrices float64 [4, 4]; `a_from_b` takes points of frame b to frame a.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import ExtrapolationError, TransformError
from perception_ros.core.poses import between, inverse, Matrix, problem_of

HISTORY_NS = 10_000_000_000
"""How long tf2 remembers, too."""

SET_BACK_NS = 1_000_000_000
"""A stamp that is older than its frame's newest by more is that of a clock that was set back."""

MOTION_NS = 90_000_000
"""Over so long it is looked at how a frame moved, where it must be thought to go on."""

_STEPS = 8
"""So often: how it usually moved tells which step was none, but a jump."""
_LEVER_M = 10.0
"""A turn counts as what it does to things so far away."""
_PULL_M_S2 = 10.0
"""What changes its speed by more has jumped: no vehicle brakes or turns in so hard."""
_NOISE_M = 0.03
"""How exactly poses are told."""

_MS, _S = 1e6, 1e9


class _Step(NamedTuple):
    """How far a child came, in its own frame, and in how many ns; middle_ns: when."""

    way: Matrix
    step_ns: int
    middle_ns: float

    @property
    def speeds_m_s(self) -> NDArray[np.float64]:
        """Along its axes and, `_LEVER_M` away, about them, [6]."""
        turn, _ = cv2.Rodrigues(self.way[:3, :3])
        return np.append(self.way[:3, 3], _LEVER_M * turn) / (self.step_ns / _S)


_NO_STEP = _Step(np.eye(4), 1, 0.0)


@dataclass(slots=True)
class _Link:
    """From a child to its parent: `parent_from_child` over time, or once for all times."""

    parent: str
    is_static: bool
    is_filled: bool = False
    """Nobody published it; it gives way to whatever is published."""
    is_set_back: bool = False
    """The last message was of a clock that was set back, and has been left out."""
    stamps: list[int] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    motion: _Step | None = None
    """How the child is thought to go on; None: not looked at."""

    def put(self, stamp_ns: int, matrix: Matrix, history_ns: int) -> None:
        """Remember where the child was, and forget what is too old or of another time.

        A clock that was set back is believed when two messages in a row say so: one may have been
        on its way for long, and would cost all that is known.
        """
        is_behind = bool(self.stamps) and stamp_ns < self.stamps[-1] - SET_BACK_NS
        was_behind, self.is_set_back = self.is_set_back, is_behind
        if is_behind and not (was_behind or self.is_static):
            return
        if self.is_static or is_behind:
            self.stamps.clear()
            self.matrices.clear()
            self.is_set_back = False
        self.motion = None
        at = bisect_left(self.stamps, stamp_ns)
        if at < len(self.stamps) and self.stamps[at] == stamp_ns:
            self.matrices[at] = matrix
            return
        self.stamps.insert(at, stamp_ns)
        self.matrices.insert(at, matrix)
        old = bisect_left(self.stamps, self.stamps[-1] - history_ns)
        del self.stamps[:old], self.matrices[:old]

    def ahead_ns(self, stamp_ns: int) -> int:
        """Return how far a stamp is after the newest (> 0) or before the oldest (< 0) one."""
        if self.is_static:
            return 0
        return max(stamp_ns - self.stamps[-1], 0) or min(stamp_ns - self.stamps[0], 0)

    def at(self, stamp_ns: int) -> Matrix:
        """Return `parent_from_child` at a time; after the newest the child goes on as before."""
        if self.is_static:
            return self.matrices[0]
        if stamp_ns > self.stamps[-1]:
            return self._carried_on(stamp_ns)
        after = bisect_left(self.stamps, stamp_ns)
        if self.stamps[after] == stamp_ns:
            return self.matrices[after]
        first, second = self.stamps[after - 1], self.stamps[after]
        part = (stamp_ns - first) / (second - first)
        return between(self.matrices[after - 1], self.matrices[after], part)

    def _carried_on(self, stamp_ns: int) -> Matrix:
        """Return where the child will be if it goes on, and turns, as it did last."""
        if self.motion is None:
            self.motion = _last_motion(list(self._last_steps())[::-1])
        step, step_ns, _ = self.motion
        return _moved(self.matrices[-1], step, step_ns, stamp_ns - self.stamps[-1])

    def _last_steps(self) -> Iterator[_Step]:
        """Yield the last `_STEPS` steps of `MOTION_NS` or a little more, the newest first."""
        last = len(self.stamps) - 1
        for _ in range(_STEPS):
            then = bisect_right(self.stamps, self.stamps[last] - MOTION_NS) - 1
            if then < 0:
                return
            begin_ns, end_ns = self.stamps[then], self.stamps[last]
            way = np.asarray(inverse(self.matrices[then]) @ self.matrices[last])
            yield _Step(way, end_ns - begin_ns, (begin_ns + end_ns) / 2)
            last = then


class TransformTree:
    """Frames, each with one parent at most, and where they were during the last seconds."""

    def __init__(self, history_ns: int = HISTORY_NS) -> None:
        """Remember each moving frame for `history_ns` before its newest stamp."""
        self._history_ns = history_ns
        self._links: dict[str, _Link] = {}

    @property
    def frames(self) -> list[str]:
        """All frames that were named, in alphabetical order."""
        return sorted(self._known())

    def parent(self, frame: str) -> str | None:
        """Return a frame's parent; None: it has none, or is not known."""
        link = self._links.get(_named(frame))
        return link.parent if link else None

    def root(self, frame: str) -> str:
        """Return the frame at the top of the tree that a frame is in; itself if it is alone."""
        *_, top = self._upwards(_named(frame))
        return top

    def base(self, frame: str) -> str:
        """Return the topmost frame that a frame is fixed to, as the vehicle's; itself if none."""
        frame = _named(frame)
        while (link := self._links.get(frame)) and link.is_static:
            frame = link.parent
        return frame

    def add(
        self, parent: str, child: str, stamp_ns: int, matrix: Matrix, is_static: bool = False
    ) -> None:
        """Take in what somebody published: `parent_from_child` at a time, or for all times.

        What was filled in gives way. A child may change its parent when the old one has said
        nothing for as long as the tree remembers.

        :raises TransformError: it is no rigid transform, would close a loop, or gives a child a
            second parent; nothing has changed then.
        """
        parent, child = _named(parent), _named(child)
        _check(parent, child, matrix)
        link = self._links.get(child)
        if link and link.is_filled:
            link = None
        if link and link.parent != parent:
            is_apart = abs(stamp_ns - link.stamps[-1]) > self._history_ns
            if link.is_static or is_static or not is_apart:
                raise TransformError(
                    f'expected one parent for {child!r}, got {parent!r} beside {link.parent!r}; '
                    'let only one of the two publish it'
                )
            link = None
        if link is None or link.is_static != is_static:
            self._give_way(parent, child)
            link = self._links[child] = _Link(parent, is_static)
        link.put(stamp_ns, np.array(matrix, np.float64), self._history_ns)

    def fill(self, parent: str, child: str, matrix: Matrix) -> bool:
        """Connect two frames that are not connected yet; say whether that was needed.

        For what a file knows and nobody publishes. Where somebody publishes other frames above
        the child, they keep their places below it, and the topmost is tied to the parent. To be
        called again whenever something new was published: what is filled in gives way to that.

        :raises TransformError: it is no rigid transform, or frames above the child move.
        """
        parent, child = _named(parent), _named(child)
        _check(parent, child, matrix)
        top = self.root(child)
        if self.root(parent) == top:
            return False
        if any(not self._links[frame].is_static for frame in self._upwards(child) if frame != top):
            raise TransformError(
                f'expected a frame that is fixed to {top!r}, got {child!r}, which moves; let '
                f'somebody publish {parent!r} -> {top!r}'
            )
        link = self._links[top] = _Link(parent, is_static=True, is_filled=True)
        link.put(0, matrix @ inverse(self._below(child, top, 0)), self._history_ns)
        return True

    def lookup(
        self, target: str, source: str, stamp_ns: int | None = None, beyond_ns: int = 0
    ) -> Matrix:
        """Return `target_from_source` at a time; None: the newest at which it is known.

        :param beyond_ns: for how long after it was last heard of a frame is thought to go on, and
            to turn, as it did during the last `MOTION_NS` in which it did not jump.
        :raises ExtrapolationError: it is not known then; with how far that is off.
        :raises TransformError: a frame is not known, or both are not connected.
        """
        target, source = _named(target), _named(source)
        shared = self._shared(target, source)
        if stamp_ns is None:
            stamp_ns = self.newest_ns(target, source) or 0
        self._check_known(target, source, shared, stamp_ns, beyond_ns)
        up = self._below(source, shared, stamp_ns)
        if target == shared:
            return up
        return np.asarray(inverse(self._below(target, shared, stamp_ns)) @ up)

    def lookup_between(
        self, target: str, target_stamp_ns: int, source: str, source_stamp_ns: int, fixed: str,
        beyond_ns: int = 0,
    ) -> Matrix:
        """Return where what `source` saw at one time is for `target` at another.

        :param fixed: a frame in which what is seen stands still meanwhile: the world, odometry.
        :param beyond_ns: as of `lookup`.
        :raises ExtrapolationError, TransformError: as `lookup`.
        """
        there = self.lookup(fixed, source, source_stamp_ns, beyond_ns)
        return np.asarray(self.lookup(target, fixed, target_stamp_ns, beyond_ns) @ there)

    def newest_ns(self, target: str, source: str) -> int | None:
        """Return the newest time at which both are known; None: at any, they are fixed.

        :raises TransformError: a frame is not known, or both are not connected.
        """
        target, source = _named(target), _named(source)
        shared = self._shared(target, source)
        newest = [
            self._links[frame].stamps[-1]
            for end in (target, source) for frame in self._path(end, shared)
            if not self._links[frame].is_static
        ]
        return min(newest, default=None)

    def _known(self) -> set[str]:
        return {*self._links, *(link.parent for link in self._links.values())}

    def _upwards(self, frame: str) -> Iterator[str]:
        """Yield a frame, its parent, and so on to the root."""
        yield frame
        while link := self._links.get(frame):
            frame = link.parent
            yield frame

    def _path(self, frame: str, top: str) -> Iterator[str]:
        """Yield the frames from one upwards, without `top` above it."""
        while frame != top:
            yield frame
            frame = self._links[frame].parent

    def _below(self, frame: str, top: str, stamp_ns: int) -> Matrix:
        """Return `top_from_frame`, where `top` is above the frame."""
        matrix = np.eye(4)
        for each in self._path(frame, top):
            matrix = self._links[each].at(stamp_ns) @ matrix
        return matrix

    def _shared(self, target: str, source: str) -> str:
        """Return the lowest frame above both, or one of them."""
        known = self._known()
        for frame in (target, source):
            if frame not in known:
                near = get_close_matches(frame, sorted(known), n=3)
                hint = f'did you mean {" or ".join(near)}?' if near else (
                    f'known are {", ".join(self.frames)}' if known else 'none is known yet'
                )
                raise TransformError(f'expected a frame of the tree, got {frame!r}; {hint}')
        above = set(self._upwards(target))
        for frame in self._upwards(source):
            if frame in above:
                return frame
        raise TransformError(
            f'expected {target!r} and {source!r} in one tree, but {target!r} hangs below '
            f'{self.root(target)!r} and {source!r} below {self.root(source)!r}; let somebody '
            'publish how these two lie to each other, or give it in a calibration file'
        )

    def _check_known(
        self, target: str, source: str, shared: str, stamp_ns: int, beyond_ns: int
    ) -> None:
        worst, at = 0, ''
        for end in (target, source):
            for frame in self._path(end, shared):
                ahead = self._links[frame].ahead_ns(stamp_ns)
                if not 0 < ahead <= beyond_ns and abs(ahead) > abs(worst):
                    worst, at = ahead, frame
        if not worst:
            return
        link = self._links[at]
        side = 'after the newest' if worst > 0 else 'before the oldest'
        mend = (
            'wait for it, or see whether its publisher still lives' if worst > 0
            else 'remember for longer, or ask sooner'
        )
        raise ExtrapolationError(
            f'{target!r} from {source!r}: {link.parent!r} -> {at!r} is known of '
            f'{(link.stamps[-1] - link.stamps[0]) / _MS:.1f} ms, and was asked for '
            f'{abs(worst) / _MS:.1f} ms {side} of them; {mend}', worst,
        )

    def _give_way(self, parent: str, child: str) -> None:
        """Make room for a new link: where it closes a loop, what was filled in is taken out.

        :raises TransformError: it closes a loop of what was published.
        """
        above = list(self._upwards(parent))
        if child not in above:
            return
        loop = above[:above.index(child)]
        filled = next((frame for frame in loop if self._links[frame].is_filled), None)
        if filled is None:
            said = ' -> '.join([child, *reversed(loop), child])
            raise TransformError(
                f'expected a tree, got {parent!r} -> {child!r}, which closes the loop {said}; let '
                'one of these not be published'
            )
        del self._links[filled]


def _last_motion(steps: Sequence[_Step]) -> _Step:
    """Return the newest of the steps of a motion; where they are of none: to stay.

    A localisation that sets a frame right moves it in a step or two. Carried on, that would be
    metres a second that nobody drives. So it begins with the step that is most like all others,
    and goes on to each later one that can follow from the last.

    :param steps: the newest last.
    """
    if not steps:
        return _NO_STEP
    speeds = np.array([step.speeds_m_s for step in steps])
    seconds = np.array([step.step_ns for step in steps]) / _S
    middles_s = np.array([step.middle_ns for step in steps]) / _S
    apart_m_s = np.linalg.norm(speeds[:, None] - speeds, axis=2)
    slack_m_s = _PULL_M_S2 * np.abs(middles_s[:, None] - middles_s) + _NOISE_M / seconds[:, None]
    follows = apart_m_s <= slack_m_s
    last = int(apart_m_s.sum(axis=1).argmin())
    if follows[last].sum() < 2:  # itself alone
        return _NO_STEP
    for index in range(last + 1, len(steps)):
        if follows[index, last]:
            last = index
    return steps[last]


def _moved(start: Matrix, step: Matrix, step_ns: int, for_ns: int) -> Matrix:
    """Return where something is that goes on for a time as it went in a step."""
    steps, rest_ns = divmod(for_ns, step_ns)
    part = between(np.eye(4), step, rest_ns / step_ns)
    return np.asarray(start @ np.linalg.matrix_power(step, steps) @ part)


def _named(frame: str) -> str:
    """Return a frame's name without the slash that ROS 1 put before it."""
    return frame.removeprefix('/')


def _check(parent: str, child: str, matrix: Matrix) -> None:
    if not parent or not child:
        raise TransformError(f'expected names of frames, got {parent!r} -> {child!r}; name both')
    if parent == child:
        raise TransformError(f'expected two frames, got {child!r} below itself; name its parent')
    if problem := problem_of(np.asarray(matrix)):
        raise TransformError(
            f'expected a rotation and a translation as {parent!r} -> {child!r}, {problem}; see '
            'who publishes it'
        )
