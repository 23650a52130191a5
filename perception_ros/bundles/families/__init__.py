"""Families of foreign models: one module each, and the choice among them.

To add one, implement `base.Family` in a module of its own and name it in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from perception_ros.bundles.families.base import Family, Match, Plan
from perception_ros.bundles.families.detr import Detr
from perception_ros.bundles.families.nanodet import NanoDet
from perception_ros.bundles.families.pairs import Decoded, Ssd
from perception_ros.bundles.families.semantic import Semantic
from perception_ros.bundles.families.torchvision import Torchvision
from perception_ros.bundles.families.yolo import YoloEndToEnd, YoloObjectness, YoloPlain
from perception_ros.bundles.families.yolox import Yolox
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.core.errors import ImportModelError

AUTO = 'auto'
_ALL: tuple[Family, ...] = (
    YoloObjectness(),
    YoloPlain(),
    YoloEndToEnd(),
    Yolox(),
    NanoDet(),
    Detr(),
    Ssd(),
    Decoded(),
    Torchvision(),
    Semantic(),
)
FAMILIES: Mapping[str, Family] = {family.name: family for family in _ALL}
ALIASES: Mapping[str, str] = {
    'yolov6': 'yolov5',
    'yolov7': 'yolov5',
    'yolop': 'yolov5',
    'yolov9': 'yolov8',
    'yolov11': 'yolov8',
    'yolo11': 'yolov8',
    'yolov12': 'yolov8',
    'yolo12': 'yolov8',
    'yolo26': 'yolov10',
    'rtdetr': 'detr',
    'rt-detr': 'detr',
    'dfine': 'detr',
    'd-fine': 'detr',
    'fasterrcnn': 'torchvision',
    'maskrcnn': 'torchvision',
}
"""Other names of models -> the family whose outputs they have."""

_LEAST, _CLOSE = 0.45, 0.2

__all__ = [
    'ALIASES',
    'AUTO',
    'FAMILIES',
    'Family',
    'Plan',
    'Recognition',
    'family_of',
    'recognise',
]


@dataclass(frozen=True)
class Recognition:
    """Which family a graph is of, and why."""

    family: Family
    reason: str
    others: Mapping[str, str]
    """Families that fit nearly as well -> why."""

    def __str__(self) -> str:
        """Return it in a sentence or two."""
        text = f'recognised as {self.family.name}: {self.reason}.'
        if self.others:
            also = '; '.join(f'{name}: {reason}' for name, reason in self.others.items())
            text += f' Ambiguous: it could also be {also}. Name it with --family to be sure.'
        return text


def family_of(name: str) -> Family:
    """Return a family by its name, or by that of a model it is known for.

    :raises ImportModelError: there is no such family.
    """
    family = FAMILIES.get(ALIASES.get(name, name))
    if family is None:
        raise ImportModelError(
            f'family: expected {AUTO!r} or one of {sorted(FAMILIES)} (or {sorted(ALIASES)}), got '
            f'{name!r}'
        )
    return family


def matches(foreign: ForeignGraph) -> dict[str, Match]:
    """Return how well a graph fits each family."""
    return {family.name: family.recognise(foreign) for family in _ALL}


def recognise(foreign: ForeignGraph) -> Recognition:
    """Find the family of a graph by its outputs: their shapes, and their numbers for one image.

    :raises ImportModelError: none fits, with what speaks against each.
    """
    found = matches(foreign)
    name, best = max(found.items(), key=lambda item: item[1].score)
    if best.score < _LEAST:
        said = '; '.join(f'{name}: {match.reason}' for name, match in found.items())
        shapes = {key: list(value.shape) for key, value in foreign.sample.items()}
        raise ImportModelError(
            f'the outputs {shapes} fit no family ({said}); name one with --family, or export the '
            'model with its usual outputs'
        )
    others = {
        other: match.reason for other, match in found.items()
        if other != name and match.score >= max(best.score - _CLOSE, _LEAST)
    }
    return Recognition(FAMILIES[name], best.reason, others)
