"""What was published, what the node says of it, and what came back, held against each other.

Every frame that was published ends as inferred or as dropped, once for each model that takes it,
in the tables of a replay and under the stamp that it has in the bag.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from perception_ros.core.frame_log import DROPPED, INFERRED, SET
from perception_ros.core.image import Image
from perception_ros.core.passage import Passage
from perception_ros.core.types import Detections, Drop, DropReason, Frame, FrameSet, Result
from perception_ros.replay.journal import Journal

_REMEMBERED = 4096
"""Stamps of frames that are known; more than can be on their way."""


@dataclass(slots=True, eq=False)
class Publication:
    """An image that was played; times in ns."""

    camera: str
    stamp_ns: int
    """As it was played,"""
    bag_stamp_ns: int
    """and in the bag."""
    published_ns: int
    """On the machine's monotonic clock,"""
    late_ns: int
    """and how much later than its turn."""
    transport_ns: int | None
    """From its stamp to when it was recorded; None where the clocks cannot be compared."""
    size: tuple[int, int]
    """Width and height, as the message says."""
    owed: set[str] = field(default_factory=set)
    """Models that have not been heard of it."""
    reason: str = ''
    """Why it was dropped, by the first model that was heard of."""


@dataclass(slots=True)
class CameraCounts:
    """Frames of a camera; one is inferred when each of its models has answered."""

    published: int = 0
    inferred: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    """By the reason of the first model that dropped it."""


@dataclass(slots=True)
class _Arrival:
    """What has come of the answer of one model."""

    outputs: set[str] = field(default_factory=set)
    received_ns: int = 0
    detections: Detections | None = None


class Ledger:
    """Holds only what is on its way; rows go to a journal.

    :param models: by camera, those that take its frames.
    :param outputs: by model, those that are listened to.
    :param has_log: whether the node says what becomes of each frame.
    """

    def __init__(
        self,
        journal: Journal,
        models: Mapping[str, frozenset[str]],
        outputs: Mapping[str, frozenset[str]],
        *,
        has_log: bool,
    ) -> None:
        self.counts = {camera: CameraCounts() for camera, names in models.items() if names}
        self.settled = 0
        """Frames whose fate is known."""
        self.strays = 0
        """Answers and drops of frames that nobody here has published, or that were given up."""
        self._journal = journal
        self._models = models
        self._outputs = outputs
        self._has_log = has_log
        self._open: dict[tuple[str, int], deque[Publication]] = {}
        self._arrivals: dict[tuple[str, int, str], _Arrival] = {}
        self._passages: dict[tuple[str, int, str], Passage] = {}
        self._bag_stamps: dict[tuple[str, int], int] = {}

    @property
    def is_settled(self) -> bool:
        """Whether nothing is on its way."""
        return not self._open

    def bag_stamp_ns(self, camera: str, stamp_ns: int) -> int:
        """Return the stamp in the bag of a frame that was played with this one."""
        return self._bag_stamps.get((camera, stamp_ns), stamp_ns)

    def publish(self, published: Publication) -> None:
        """Take note of a frame, before anything else comes of it."""
        if not (owed := self._models.get(published.camera)):
            return
        key = published.camera, published.stamp_ns
        published.owed = set(owed)
        self.counts[published.camera].published += 1
        self._open.setdefault(key, deque()).append(published)
        self._bag_stamps.pop(key, None)  # the newest come last
        self._bag_stamps[key] = published.bag_stamp_ns
        while len(self._bag_stamps) > _REMEMBERED:
            del self._bag_stamps[next(iter(self._bag_stamps))]

    def read(self, line: list[Any]) -> None:
        """Take a line of the node's frame log."""
        what, *items = line
        if what == SET:
            self._matched(items[0])
        elif what == DROPPED:
            self._dropped(*items)
        elif what == INFERRED:
            camera, stamp_ns, model, points_ns = items
            self._passages[camera, stamp_ns, model] = Passage(**points_ns)
            self._answer((camera, stamp_ns, model))

    def hear(
        self,
        camera: str,
        stamp_ns: int,
        model: str,
        output: str,
        received_ns: int,
        detections: Detections | None = None,
    ) -> None:
        """Take a message with a result."""
        if (camera, stamp_ns) not in self._open:
            self.strays += 1
            return
        arrival = self._arrivals.setdefault((camera, stamp_ns, model), _Arrival())
        arrival.outputs.add(output)
        arrival.received_ns = received_ns
        arrival.detections = detections or arrival.detections
        self._answer((camera, stamp_ns, model))

    def give_up(self, before_ns: int | None = None) -> None:
        """Settle what was published before a time, or all: nothing more is expected of it."""
        for key in list(self._open):
            first = self._open[key][0]
            if before_ns is not None and first.published_ns >= before_ns:
                return  # the later ones come later
            for published in tuple(self._open.get(key, ())):
                self._settle(published)

    def _matched(self, frames: list[list[Any]]) -> None:
        nothing = Image(b'', '', 0, 0, 0)
        self._journal.matched(FrameSet(
            tuple(Frame(c, self.bag_stamp_ns(c, stamp_ns), 0, nothing) for c, stamp_ns in frames),
            (), 0,
        ))

    def _dropped(self, camera: str, stamp_ns: int, model: str, reason: str, detail: str) -> None:
        known = DropReason(reason)
        if known is DropReason.MISSING:
            bag_stamp_ns = next(
                (of_bag for (_, played), of_bag in self._bag_stamps.items() if played == stamp_ns),
                stamp_ns,
            )
            self._journal.dropped([Drop(camera, known, bag_stamp_ns, model, detail)])
            return
        # what comes twice is dropped the second time, and inferred the first
        waiting = self._open.get((camera, stamp_ns), ())
        options = [item for item in reversed(waiting) if not model or model in item.owed]
        if not options:
            self.strays += 1
            return
        published = next((i for i in options if i.owed == self._models[camera]), options[0])
        self._drop(published, model, known, detail)

    def _drop(
        self, published: Publication, model: str, reason: DropReason, detail: str
    ) -> None:
        self._journal.dropped(
            [Drop(published.camera, reason, published.bag_stamp_ns, model, detail)]
        )
        published.reason = published.reason or reason.value
        self._strike(published, {model} if model else set(published.owed))

    def _answer(self, key: tuple[str, int, str], *, is_last: bool = False) -> bool:
        """Keep an answer if all of it is there, and say so."""
        camera, stamp_ns, model = key
        arrival, passage = self._arrivals.get(key), self._passages.get(key)
        if arrival is None or arrival.outputs < self._outputs[model]:
            return False
        if passage is None and self._has_log and not is_last:
            return False
        del self._arrivals[key]
        self._passages.pop(key, None)
        waiting = self._open.get((camera, stamp_ns), ())
        published = next((item for item in waiting if model in item.owed), None)
        if published is None:
            self.strays += 1
            return False
        image = Image(b'', '', *published.size, 0)
        frame = Frame(camera, published.bag_stamp_ns, 0, image)
        times_ns = _on_the_way_ns(published, arrival, passage)
        if passage:  # its stamp is of the bag's time
            passage = passage._replace(stamped_ns=None)
        result = Result(frame, model, arrival.detections, passage=passage)
        self._journal.inferred(result, times_ns)
        self._strike(published, {model})
        return True

    def _settle(self, published: Publication) -> None:
        """Say of all models that are still owed what is known of them."""
        silent = []
        for model in sorted(published.owed):
            key = published.camera, published.stamp_ns, model
            if self._answer(key, is_last=True):
                continue
            self._arrivals.pop(key, None)
            if self._passages.pop(key, None) is None:
                silent.append(model)
            else:
                self._drop(published, model, DropReason.UNHEARD, 'published, and not received')
        whole = len(silent) == len(self._models[published.camera])
        for model in [''] if whole else silent:
            self._drop(published, model, DropReason.LOST, '')

    def _strike(self, published: Publication, models: set[str]) -> None:
        published.owed -= models
        if published.owed:
            return
        counts = self.counts[published.camera]
        if published.reason:
            counts.dropped[published.reason] += 1
        else:
            counts.inferred += 1
        self.settled += 1
        key = published.camera, published.stamp_ns
        self._open[key].remove(published)
        if not self._open[key]:
            del self._open[key]


def _on_the_way_ns(
    published: Publication, arrival: _Arrival, passage: Passage | None
) -> dict[str, int]:
    """Return how long a frame was on its way outside of the node, all of it on one clock."""
    end_to_end_ns = arrival.received_ns - published.published_ns
    times_ns = {'late': published.late_ns, 'end_to_end': end_to_end_ns}
    if passage:
        times_ns['to_node'] = passage.received_ns - published.published_ns
        times_ns['from_node'] = arrival.received_ns - passage.published_ns
    if published.transport_ns is not None:
        times_ns['age'] = published.transport_ns + published.late_ns + end_to_end_ns
    return times_ns
