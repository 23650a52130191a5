"""A tree of frames over time, as tf2 keeps it: where each frame was in each other one, and when.

Plain bookkeeping without a clock, a lock or ROS: whoever shares it between threads locks it.
Stamps are in ns, matrices float64 [4, 4]; `a_from_b` takes points of frame b to frame a.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from perception_ros.core.errors import ExtrapolationError, TransformError
from perception_ros.core.poses import between, difference, inverse, Matrix, problem_of

HISTORY_NS = 10_000_000_000
"""How long tf2 remembers, too."""

SET_BACK_NS = 1_000_000_000
"""A stamp that is older than its frame's newest by more is that of a clock that was set back."""

MOTION_NS = 100_000_000
"""Over so long it is looked at how a frame moved last, where it must be thought to go on."""

_LEVER_M = 10.0
"""A turn counts as what it does to things so far away."""

_MS = 1e6


@dataclass(slots=True)
class _Link:
    """From a child to its parent: `parent_from_child` over time, or once for all times."""

    parent: str
    is_static: bool
    is_filled: bool = False
    """Nobody published it; it gives way to whatever is published."""
    stamps: list[int] = field(default_factory=list)
    matrices: list[Matrix] = field(default_factory=list)
    motion: tuple[Matrix, int] | None = None
    """How far the child came lately, in its own frame, and in how many ns; None: not looked at."""

    def put(self, stamp_ns: int, matrix: Matrix, history_ns: int) -> None:
        """Remember where the child was, and forget what is too old or of another time."""
        if self.is_static or (self.stamps and stamp_ns < self.stamps[-1] - SET_BACK_NS):
            self.stamps.clear()
            self.matrices.clear()
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
        self.motion = self.motion or self._last_motion()
        return _moved(self.matrices[-1], *self.motion, stamp_ns - self.stamps[-1])

    def _last_motion(self) -> tuple[Matrix, int]:
        """Return how the child moves, if that would have foretold where it is; else: not at all.

        A vehicle goes on as it went. What stands and jumps, as a map is set right against
        odometry, would be carried away by its last jump.
        """
        last = len(self.stamps) - 1
        then = self._before(self.stamps[last] - MOTION_NS)
        earlier = self._before(self.stamps[then] - MOTION_NS)
        if earlier < then < last:
            step, step_ns = self._way(then, last)
            foretold = _moved(self.matrices[then], *self._way(earlier, then), step_ns)
            here = self.matrices[last]
            if _apart_m(foretold, here) < _apart_m(self.matrices[then], here):
                return step, step_ns
        return np.eye(4), 1

    def _before(self, stamp_ns: int) -> int:
        """Return the place of the newest stamp that is no later; the first, if all are."""
        return max(bisect_right(self.stamps, stamp_ns) - 1, 0)

    def _way(self, first: int, second: int) -> tuple[Matrix, int]:
        matrix = inverse(self.matrices[first]) @ self.matrices[second]
        return np.asarray(matrix), self.stamps[second] - self.stamps[first]


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
            to turn, as it did during the last `MOTION_NS`; one that jumps is thought to stay.
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


def _moved(start: Matrix, step: Matrix, step_ns: int, for_ns: int) -> Matrix:
    """Return where something is that goes on for a time as it went in a step."""
    steps, rest_ns = divmod(for_ns, step_ns)
    part = between(np.eye(4), step, rest_ns / step_ns)
    return np.asarray(start @ np.linalg.matrix_power(step, steps) @ part)


def _apart_m(first: Matrix, second: Matrix) -> float:
    """Return how far two poses move what is `_LEVER_M` away."""
    metres, radians = difference(first, second)
    return metres + _LEVER_M * radians


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
