"""Frames of the bag with what is true and what was found drawn in: few, and small."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.bag import Bag, Message, open_bag
from perception_ros.bags.labelled import BOXES
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import BagError, ImageError
from perception_ros.core.overlay import Color, draw_detections, draw_semantic, Palette
from perception_ros.core.types import Detections, Frame, SemanticMask
from perception_ros.evaluation.matching import FALSE, FoundSide, partners, TrueSide
from perception_ros.pages.page import jpeg_uri
from perception_ros.replay.answers import Answer, answers, Key
from perception_ros.replay.compare import changes
from perception_ros.replay.inputs import read_inputs
from perception_ros.replay.worst import read_png

MOST = 24
"""Pictures of a page: so it stays small enough to be sent."""

_WIDTH_PX, _QUALITY = 800, 78
_NEAR_NS = 2_000_000_000
"""A frame is mostly recorded this near to its stamp; else the whole bag is gone through."""

Pixels = NDArray[np.uint8]
COLORS: Mapping[str, Color] = {
    'true': (0, 200, 140), 'right': (86, 180, 233), 'missed': (255, 150, 0),
    'false': (255, 70, 120), 'moved': (86, 180, 233), 'vanished': (255, 150, 0),
    'appeared': (255, 70, 120), 'relabelled': (240, 228, 66), 'same': (170, 176, 184),
}
"""Of boxes; each but a plain true one is named in words beside it too."""


class Picture(NamedTuple):
    """Pixels, uint8 [H, W, 3] RGB, and how many of them are a pixel of the source."""

    pixels: Pixels
    scale: float


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture, or two side by side, with what there is to say."""

    sides: Sequence[tuple[str, str]]
    """What each picture is, and its address."""
    caption: str


def read_frames(
    bag: Path, config: PerceptionConfig, topics: Mapping[str, str], keys: Collection[Key]
) -> dict[Key, Picture]:
    """Return some frames; what cannot be read is left out.

    :param topics: camera -> topic.
    :raises BagError: the bag cannot be opened.
    """
    found: dict[Key, Picture] = {}
    with open_bag(bag) as opened:
        def take(messages: Iterator[Message]) -> None:
            for _, frame in read_inputs(messages, config, topics):
                key = frame.camera, frame.stamp_ns
                if isinstance(frame, Frame) and key in keys and key not in found:
                    try:
                        found[key] = _small(frame.image.rgb())
                    except ImageError:  # the run has said so already
                        continue

        for camera, stamp_ns in keys:
            if (camera, stamp_ns) not in found:
                take(_near(opened, topics[camera], stamp_ns))
        if len(found) < len(keys):
            take(opened.messages(sorted({topics[camera] for camera, _ in keys})))
    return found


def answers_of(folder: Path, model: str, keys: Collection[Key]) -> dict[Key, Answer]:
    """Return what a model said about some frames of a run."""
    return {answer.key: answer for answer in answers(folder, model) if answer.key in keys}


def wrong_boxes(picture: Picture, item: Mapping[str, Any], answer: Answer) -> Shot:
    """Draw what was missed and what is false in a frame, over all that is true."""
    known = item['truth']
    names = sorted({*answer.classes, *(row['class'] for row in known if row['class'])})
    rows = [row for row in known if row['class']]
    regions = [row['box'] for row in known if not row['class']]
    crowd = [box for box in {tuple(box) for box in regions} for _ in names]
    truth = TrueSide(
        np.array([*(row['box'] for row in rows), *crowd], float).reshape(-1, 4),
        np.array([
            *(names.index(row['class']) for row in rows),
            *(list(range(len(names))) * (len(crowd) // max(len(names), 1))),
        ], np.int64),
        np.arange(len(rows) + len(crowd)) >= len(rows),
    )
    labels = np.array([names.index(name) for name in answer.classes], np.int64)
    partner = partners(truth, FoundSide(answer.boxes, labels, answer.scores))
    boxes = [(row['box'], '', 'true') for row in rows]
    missed = set(range(len(rows))) - set(partner.tolist())
    boxes += [(rows[i]['box'], f'missed {rows[i]["class"]}', 'missed') for i in sorted(missed)]
    for box, name, score, whose in zip(
        answer.boxes, answer.classes, answer.scores, partner, strict=True
    ):
        if whose >= 0:
            boxes.append((box, f'{name} {score:.2f}', 'right'))
        elif whose == FALSE:
            boxes.append((box, f'false {name} {score:.2f}', 'false'))
    said = f'{item["missed"]} missed, {item["false"]} false'
    if not answer.is_result:
        said += ', for it got no result'
    return Shot([('', _jpeg(_drawn(picture, boxes)))], f'{_named(item)}: {said}')


def wrong_mask(
    picture: Picture, item: Mapping[str, Any], answer: Answer, palette: Mapping[str, Color]
) -> Shot:
    """Draw the true and the found mask of a frame."""
    sides = []
    for side in ('truth', 'found'):
        pixels, names = picture.pixels.copy(), item[side]['classes']
        colors = tuple(palette.get(name, (128, 128, 128)) for name in names)
        mask = SemanticMask(read_png(item[side]['png']), tuple(names))
        draw_semantic(pixels, mask, colors, 0.6)
        sides.append((side, _jpeg(pixels)))
    said = 'nothing found' if item['mIoU'] is None else f'mIoU {item["mIoU"]:.3f}'
    if not answer.is_result:
        said += ', for it got no result'
    return Shot(sides, f'{_named(item)}: {said}')


def changed(picture: Picture, first: Answer, second: Answer, name: str) -> Shot:
    """Draw a frame twice: what the baseline said, and what this run says."""
    sides: list[list[tuple[Any, str, str]]] = [[], []]
    for change in changes(first, second):
        for side, answer, place in zip(
            sides, (first, second), (change.first, change.second), strict=True
        ):
            if place is not None:
                word = '' if change.kind == 'same' else f'{change.kind} '
                text = f'{word}{answer.classes[place]} {answer.scores[place]:.2f}'
                side.append((answer.boxes[place], text, change.kind))
    pictures = [_jpeg(_drawn(picture, side)) for side in sides]
    return Shot([('baseline', pictures[0]), ('this run', pictures[1])], name)


def class_colors(palette: Palette, head: str, names: Sequence[str]) -> dict[str, Color]:
    """Return the colours of a head's classes by name."""
    return dict(zip(names, palette.semantic[head], strict=True))


def is_mask(item: Mapping[str, Any]) -> bool:
    """Return whether a worst frame is one of masks."""
    return bool(item['output'] != BOXES)


def _near(bag: Bag, topic: str, stamp_ns: int) -> Iterator[Message]:
    try:
        yield from bag.messages([topic], stamp_ns - _NEAR_NS, stamp_ns + _NEAR_NS)
    except BagError:
        return


def _small(rgb: Pixels) -> Picture:
    height, width = rgb.shape[:2]
    if width <= _WIDTH_PX:
        return Picture(rgb, 1.0)
    size = _WIDTH_PX, max(round(height * _WIDTH_PX / width), 1)
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return Picture(small, _WIDTH_PX / width)


def _drawn(source: Picture, boxes: Sequence[tuple[Any, str, str]]) -> Pixels:
    picture, scale = source.pixels.copy(), source.scale
    for box, text, kind in boxes:
        if not text:
            x1, y1, x2, y2 = (round(float(side) * scale) for side in box)
            cv2.rectangle(picture, (x1, y1), (x2, y2), COLORS[kind], 2)
    texts = [(box, text, kind) for box, text, kind in boxes if text]
    count = len(texts)
    draw_detections(
        picture,
        Detections(
            np.array([box for box, _, _ in texts], np.float32).reshape(-1, 4),
            np.ones(count, np.float32), np.arange(count, dtype=np.int32),
            # OpenCV's font has ASCII alone
            tuple(text.encode('ascii', 'replace').decode() for _, text, _ in texts),
        ),
        tuple(COLORS[kind] for _, _, kind in texts), scale, scores=False,
    )
    return picture


def _jpeg(rgb: Pixels) -> str:
    quality = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    _, jpeg = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), quality)
    return jpeg_uri(jpeg.tobytes())


def _named(item: Mapping[str, Any]) -> str:
    return f'{item["camera"]} at {item["stamp_ns"] / 1e9:.3f} s'
