"""How well objects in space agree with labelled ones, and painted points with labelled boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from perception_ros.fusion.shapes import surface_of
from perception_ros.fusion.types import Objects

RANGE_M, ACROSS_M = 0.7, 0.3
"""An object is in place if its nearest visible surface is no further off than this."""


_ELLIPSE_95 = 5.99
"""Square of the deviations within which 95 of 100 places of a plane are."""
LEAST_POINTS, MOST_RANGE_M = 20, 40.0
"""What counts: objects that the LiDAR sees so well, and that are so near."""


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What the fusion says of an object; as in `fusion.types.Objects`. yaw: None: not told."""

    surface: NDArray[np.float64]
    centre: NDArray[np.float64]
    covariance: NDArray[np.float64]
    yaw: float | None
    by_camera: bool

    @classmethod
    def of(cls, objects: Objects, index: int) -> Found:
        """Return one of several objects."""
        return cls(
            objects.surfaces[index], objects.centres[index], objects.covariances[index],
            float(objects.yaws[index]) if objects.oriented[index] else None,
            bool(objects.by_camera[index]),
        )


@dataclass(frozen=True, slots=True)
class Placed:
    """How far an object is from the labelled one: ours minus the truth's, m and radians.

    Range is the distance from the LiDAR over the ground; across is to the left of the line of
    sight. surface: of the nearest visible surface; centre: of the middle of the box; None where
    nothing was found. turn: of the yaw, up to a quarter turn, for front and back look alike; None
    where it is not told. deviations: how far the centre is off over the ground, in standard
    deviations as its covariance says.
    """

    name: str
    points: int
    range_m: float
    """Of the labelled object's middle."""
    surface: tuple[float, float] | None = None
    centre: tuple[float, float] | None = None
    turn: float | None = None
    deviations: float | None = None
    by_camera: bool = False

    @property
    def in_place(self) -> bool:
        """Whether the surface is where it is labelled."""
        if self.surface is None:
            return False
        return abs(self.surface[0]) <= RANGE_M and abs(self.surface[1]) <= ACROSS_M


class FusionFigures(BaseModel):
    """Of the objects of one class, or of all. Lengths in m, angles in degrees."""

    name: str
    objects: int
    found: int
    in_place: int
    by_camera: int
    surface_range_p50_m: float | None
    surface_across_p50_m: float | None
    centre_range_p50_m: float | None
    centre_across_p50_m: float | None
    centre_p90_m: float | None
    yaw_p50_deg: float | None
    yaws: int
    in_ellipse: int
    """Centres within the ellipse in which their covariances say that 95 of 100 are."""


def is_measured(points: int, range_m: float) -> bool:
    """Say whether an object that no image cuts off is one that is measured."""
    return points >= LEAST_POINTS and range_m <= MOST_RANGE_M


def compare(
    name: str,
    points: NDArray[np.float64],
    true_centre: NDArray[np.float64],
    true_yaw: float,
    found: Found | None,
    eye: NDArray[np.float64],
) -> Placed:
    """Compare an object with the labelled one.

    The true surface is that of the points [N, 3] which lie in the labelled box, by the same rule
    as ours: as far as the near tenth of them, in the direction of their middle. It depends on the
    label and the LiDAR alone, not on what was found.

    :param found: None: nothing was.
    :param eye: [3], where the LiDAR is, in the same frame, whose z points up.
    """
    off = true_centre[:2] - eye[:2]
    range_m = float(np.hypot(*off))
    if found is None:
        return Placed(name, len(points), range_m)
    turn = None
    if found.yaw is not None:
        turn = float((found.yaw - true_yaw + np.pi / 2) % np.pi - np.pi / 2)
    miss = found.centre[:2] - true_centre[:2]
    squared = float(miss @ np.linalg.solve(found.covariance[:2, :2], miss))
    return Placed(
        name, len(points), range_m, _off(found.surface, surface_of(points, eye), eye),
        _off(found.centre, true_centre, eye), turn, squared**0.5, found.by_camera,
    )


def _off(
    ours: NDArray[np.float64], truth: NDArray[np.float64], eye: NDArray[np.float64]
) -> tuple[float, float]:
    """Return how much further away, and how much further left, seen from the eye."""
    mine, true = ours[:2] - eye[:2], truth[:2] - eye[:2]
    way = true / np.hypot(*true)
    across = float(way[0] * mine[1] - way[1] * mine[0])
    return float(np.hypot(*mine) - np.hypot(*true)), across


def figures(placed: Iterable[Placed]) -> list[FusionFigures]:
    """Return the figures of each class, by name, then of all."""
    items = list(placed)
    names = sorted({item.name for item in items})
    groups = [(name, [item for item in items if item.name == name]) for name in names]
    return [_figures(name, group) for name, group in (*groups, ('all', items))]


def _figures(name: str, items: Sequence[Placed]) -> FusionFigures:
    surfaces = [item.surface for item in items if item.surface is not None]
    centres = [item.centre for item in items if item.centre is not None]
    turns = [abs(item.turn) for item in items if item.turn is not None]
    return FusionFigures(
        name=name, objects=len(items), found=len(surfaces),
        in_place=sum(item.in_place for item in items),
        by_camera=sum(item.by_camera for item in items),
        surface_range_p50_m=_middle([abs(along) for along, _ in surfaces]),
        surface_across_p50_m=_middle([abs(across) for _, across in surfaces]),
        centre_range_p50_m=_middle([abs(along) for along, _ in centres]),
        centre_across_p50_m=_middle([abs(across) for _, across in centres]),
        centre_p90_m=_percentile([float(np.hypot(*off)) for off in centres], 90),
        yaw_p50_deg=None if not turns else float(np.degrees(np.median(turns))),
        yaws=len(turns),
        in_ellipse=sum(
            item.deviations is not None and item.deviations**2 < _ELLIPSE_95 for item in items
        ),
    )


def _middle(values: Sequence[float]) -> float | None:
    return _percentile(values, 50)


def _percentile(values: Sequence[float], share: float) -> float | None:
    return float(np.percentile(values, share)) if values else None


class PaintFigures(BaseModel):
    """Of the points that are seen in the labelled boxes of one class."""

    name: str
    boxes: int
    points: int
    painted: int
    """Of these, as that class."""
    outside: int
    """Points painted as that class that lie in none of its boxes, half a metre around included."""
