"""Class names that foreign models leave out, and a colour for every class."""

from __future__ import annotations

from collections.abc import Sequence
import colorsys

from perception_ros.bundles.manifest import ClassInfo
from perception_ros.core.errors import ImportModelError

COCO = tuple(
    """person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light,
    fire hydrant, stop sign, parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant,
    bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, snowboard,
    sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle,
    wine glass, cup, fork, knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot,
    hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining table, toilet, tv, laptop,
    mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock,
    vase, scissors, teddy bear, hair drier, toothbrush""".replace('\n', ' ').split(',')
)
COCO = tuple(' '.join(name.split()) for name in COCO)

_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)


def _by_id() -> tuple[str, ...]:
    names = iter(COCO)
    return tuple(f'unused_{i}' if i in _UNUSED_IDS else next(names) for i in range(1, 91))


COCO_IDS = _by_id()
"""Names of COCO's category ids 1 to 90, ten of which nothing was ever labelled with."""

# What people expect to see on a road scene; everything else gets a hue of its own.
_KNOWN = {
    'background': (0, 0, 0),
    'void': (0, 0, 0),
    'car': (255, 158, 0),
    'truck': (255, 99, 71),
    'bus': (255, 61, 127),
    'motorbike': (199, 92, 255),
    'motorcycle': (199, 92, 255),
    'bicycle': (122, 110, 255),
    'cyclist': (122, 110, 255),
    'person': (0, 209, 255),
    'pedestrian': (0, 209, 255),
    'road': (128, 92, 158),
    'drivable': (46, 184, 114),
    'lane': (255, 221, 51),
    'pavement': (230, 120, 190),
    'sky': (92, 150, 214),
    'building': (120, 120, 120),
    'tree': (84, 140, 60),
    'pole': (190, 190, 160),
    'sign': (232, 196, 38),
    'fence': (168, 132, 100),
}
_GOLDEN = 0.618033988749895


def class_infos(
    given: Sequence[str | ClassInfo] | None,
    count: int,
    what: str,
    embedded: Sequence[str] | None = None,
) -> tuple[ClassInfo, ...]:
    """Return `count` classes with colours.

    :param given: names or whole classes; None where nobody said.
    :param what: whose classes they are, for the error.
    :param embedded: names that the model's file holds; taken if there are as many as needed.
    :raises ImportModelError: there are more or fewer than the model has.
    """
    if given is None and embedded and len(embedded) == count:
        given = embedded
    if given is None:
        given = COCO if count == len(COCO) else [f'class_{i}' for i in range(count)]
    if len(given) != count:
        raise ImportModelError(
            f'{what}: expected {count} class names, as many as the model has, got {len(given)}'
        )
    return tuple(
        item if isinstance(item, ClassInfo) else ClassInfo(name=item, color=_color(item, i))
        for i, item in enumerate(given)
    )


def _color(name: str, index: int) -> tuple[int, int, int]:
    if name in _KNOWN:
        return _KNOWN[name]
    # Steps of the golden ratio: neighbours differ, and no hue comes again soon.
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN % 1, 0.72, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)
