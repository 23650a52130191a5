"""A labelled bag: images of cameras, and topics beside them that say what is to be found.

`docs/bags.md` has the topics. An image and its labels belong together by the header's stamp.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import os
from pathlib import Path
from typing import Any, NamedTuple
import weakref

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from perception_ros.bags.bag import Bag, Message, open_bag
from perception_ros.bags.frames import camera_name, camera_topics, GROUND_TRUTH, read_frame
from perception_ros.bags.messages import (
    boxes_of,
    class_names,
    DETECTIONS_2D,
    IMAGE,
    LABEL_INFO,
    places_of,
)
from perception_ros.core.errors import BagError, ImageError
from perception_ros.core.image import Image
from perception_ros.core.types import UNLABELLED
from perception_ros.ros.cdr import read_header, read_image

BOXES = 'detections'
SEMANTIC = 'semantic/'
LABELS = 'label_info'


@dataclass(frozen=True, slots=True)
class LabelledFrame:
    """Where an image and its labels lie: topic and time of recording."""

    camera: str
    stamp_ns: int
    image: tuple[str, int]
    labels: tuple[tuple[str, str, int], ...]
    """(kind, topic, time): kind is `BOXES` or 'semantic/<head>'."""

    @property
    def name(self) -> str:
        """Camera and stamp."""
        return f'{self.camera}_{self.stamp_ns}'

    def place(self, kind: str) -> tuple[str, int] | None:
        """Return where the labels of a kind lie, if there are any."""
        return next((tuple[str, int](item[1:]) for item in self.labels if item[0] == kind), None)


class LabelledBoxes(NamedTuple):
    """The true boxes of a frame."""

    boxes: NDArray[np.float64]
    """[N, 4] x1, y1, x2, y2 in pixels."""
    names: list[str | None]
    """[N] classes; None: a region of which nothing is known."""
    distances_m: NDArray[np.float64]
    """[N] from the camera to the middle of the object; NaN: not known."""


class LabelledBag:
    """The labelled images of a bag, in the order of recording; each is read when asked for.

    It may be used in processes that were started from the one that opened it.
    """

    def __init__(self, path: Path) -> None:
        """
        Go through the bag once, to see which image belongs to which labels.

        :raises BagError: there are no labels, or they belong to no image.
        """
        self.path = path
        self._of_others: list[Bag | None] = []
        self._bag: Bag | None = None
        self._process = 0
        self._bag = self._open_bag()
        try:
            topics = _label_topics(self._bag)
            if not topics:
                raise BagError(
                    f'{path}: expected a labelled bag, it has no topic '
                    f'<camera>/{GROUND_TRUTH}/{BOXES} or .../{SEMANTIC}<head>; '
                    f'its topics are {", ".join(self._bag.topics) or "none"}'
                )
            self._names = _class_names(self._bag, topics)
            self.frames = tuple(_pair(self._bag, topics))
        except BaseException:
            self.close()
            raise
        if not self.frames:
            self.close()
            raise BagError(
                f'{path}: expected images with the stamps of the labels, none of them has an image'
            )

    @property
    def problems(self) -> list[str]:
        """What is damaged in the bag, as far as it has been read."""
        return self._open_bag().problems

    def check_whole(self) -> None:
        """Refuse a damaged bag, where a figure must not depend on what happens to be readable.

        :raises BagError: something is damaged.
        """
        if self.problems:
            raise BagError(
                f'{self.path}: expected a labelled bag that is whole; {"; ".join(self.problems)}. '
                '`perception_ros bag cut` makes a bag of what is'
            )

    @property
    def kinds(self) -> tuple[str, ...]:
        """What is labelled: `BOXES`, 'semantic/<head>'."""
        return tuple(sorted({label[0] for frame in self.frames for label in frame.labels}))

    def classes(self, kind: str) -> tuple[str, ...]:
        """Return the names of the classes of a kind, by id.

        Of boxes those that a label_info lists, or else those that occur, sorted.

        :raises BagError: nothing names the classes of a label map.
        """
        if names := self._names.get(kind):
            return names
        if kind != BOXES:
            raise BagError(
                f'{self.path}: nothing says what the ids of {kind} mean; expected a '
                f'vision_msgs/LabelInfo on <camera>/{GROUND_TRUTH}/{kind}/{LABELS}'
            )
        found = {
            name for frame in self.frames if frame.place(BOXES)
            for name in self.boxes(frame).names if name is not None
        }
        return tuple(sorted(found))

    def image(self, frame: LabelledFrame) -> Image:
        """Read the image of a frame.

        :raises BagError: it cannot be read any more.
        """
        message = self._message(frame, frame.image)
        found = read_frame(self._open_bag(), message, frame.camera)
        if found is None:
            raise BagError(f'{self.path}: the image {frame.name} cannot be read')
        return found.image

    def boxes(self, frame: LabelledFrame) -> LabelledBoxes:
        """Read the true boxes of a frame.

        :raises BagError: the frame has none.
        """
        message = self._open_bag().decode(self._message(frame, self._place(frame, BOXES)))
        distances_m = np.linalg.norm(places_of(message), axis=1)
        return LabelledBoxes(*boxes_of(message), distances_m)

    def label_map(self, frame: LabelledFrame, kind: str) -> NDArray[np.uint8]:
        """Read class ids, uint8 [H, W]; 255 = not known.

        :raises BagError: the frame has none, or it is no mono8 image of the image's size.
        """
        image = read_label_map(self._message(frame, self._place(frame, kind)))
        known = len(self.classes(kind))
        if (unknown := image[(image >= known) & (image != UNLABELLED)]).size:
            raise BagError(
                f'{self.path}: {kind} of {frame.name}: expected class ids 0..{known - 1} or '
                f'{UNLABELLED}, got {unknown[0]}'
            )
        return image

    def close(self) -> None:
        """Close the bag."""
        if self._bag is not None:
            _close(self._bag, self._process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_bag': None, '_process': 0, '_of_others': []}

    def _open_bag(self) -> Bag:
        """Return the bag, opened by this process: a position in a file is shared with a fork's."""
        if self._bag is None or self._process != os.getpid():
            self._of_others.append(self._bag)  # it is not for this process to close
            self._bag, self._process = open_bag(self.path), os.getpid()
            weakref.finalize(self, _close, self._bag, self._process)
        return self._bag

    def _place(self, frame: LabelledFrame, kind: str) -> tuple[str, int]:
        if (place := frame.place(kind)) is None:
            raise BagError(f'{self.path}: {frame.name} has no {kind}')
        return place

    def _message(self, frame: LabelledFrame, place: tuple[str, int]) -> Message:
        topic, time_ns = place
        bag = self._open_bag()
        for message in bag.messages([topic], time_ns, time_ns + 1):
            if _stamp(bag, message) == frame.stamp_ns:
                return message
        raise BagError(
            f'{self.path}: the message on {topic} at {time_ns / 1e9:.6f} s is not there any '
            'more'
        )


def _close(bag: Bag, process: int) -> None:
    if process == os.getpid():
        bag.close()


def read_label_map(message: Message) -> NDArray[np.uint8]:
    """Return class ids, uint8 [H, W], of a mono8 image message.

    :raises BagError: it is none.
    """
    try:
        image = read_image(message.data).image
        image.validate()
        if image.encoding != 'mono8':
            raise ImageError(f'expected mono8 with class ids, got {image.encoding}')
        return image.pixels()[0]
    except ImageError as error:
        raise BagError(f'{message.topic}: {error}') from error


def _label_topics(bag: Bag) -> dict[str, tuple[str, str]]:
    """Return topic -> (its camera's topics start so, kind of label)."""
    found = {}
    for name, topic in bag.topics.items():
        start, between, kind = name.rpartition(f'/{GROUND_TRUTH}/')
        is_boxes = kind == BOXES and DETECTIONS_2D in topic.types
        is_map = (
            kind.startswith(SEMANTIC) and not kind.endswith(f'/{LABELS}') and IMAGE in topic.types
        )
        if between and (is_boxes or is_map):
            found[name] = (start, kind)
    return found


def _class_names(bag: Bag, topics: dict[str, tuple[str, str]]) -> dict[str, tuple[str, ...]]:
    named: dict[str, tuple[str, ...]] = {}
    sources: dict[str, str] = {}
    infos = {f'{name}/{LABELS}': kind for name, (_, kind) in topics.items()}
    wanted = [name for name in infos if name in bag.topics]
    for message in bag.messages(wanted) if wanted else ():
        if message.type != LABEL_INFO:
            continue
        kind, names = infos[message.topic], class_names(bag.decode(message))
        if named.setdefault(kind, names) != names:
            raise BagError(
                f'{bag.path}: {message.topic} names other classes than {sources[kind]}; expected '
                f'all cameras to have the same, {", ".join(named[kind])}'
            )
        sources.setdefault(kind, message.topic)
    return named


def _pair(bag: Bag, topics: dict[str, tuple[str, str]]) -> Iterator[LabelledFrame]:
    """Yield the images that have labels of the same stamp."""
    labels: dict[tuple[str, int], list[tuple[str, str, int]]] = {}
    for message in bag.messages(list(topics)):
        start, kind = topics[message.topic]
        stamp = _stamp(bag, message)
        if stamp is not None:
            labels.setdefault((start, stamp), []).append((kind, message.topic, message.time_ns))
    starts = {start for start, _ in topics.values()}
    images = {
        topic: camera
        for topic in camera_topics(bag).values()
        if (camera := _start(topic, starts)) is not None
    }
    seen: set[tuple[str, int]] = set()
    for message in bag.messages(list(images)) if images else ():
        key = (images[message.topic], _stamp(bag, message) or 0)
        if key in labels and key not in seen:
            seen.add(key)
            yield LabelledFrame(
                camera_name(message.topic), key[1], (message.topic, message.time_ns),
                tuple(labels[key]),
            )


def _start(topic: str, starts: set[str]) -> str | None:
    """Return the camera's part of an image topic: '/front' of '/front/image_raw/compressed'."""
    parents = [topic[:i] for i, letter in enumerate(topic) if letter == '/']
    return next((start for start in reversed(parents) if start in starts), None)


def _stamp(bag: Bag, message: Message) -> int | None:
    try:
        return read_header(message.data, message.type).stamp_ns
    except ImageError as error:
        bag.spoil(message.topic, str(error))
        return None
