"""Where a LiDAR sees depth jump: the outlines of things, which cameras see as edges.

A sweep's points are taken ring by ring. Where a smooth surface ends and the next beam goes
farther, or never returns, there is an edge half-way between both beams.
Source: the idea is Levinson and Thrun, "Automatic online calibration of cameras and lasers", 2013.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_SUPPORT = 1
"""Steps that must lie evenly before an edge: what flickers, such as leaves, has no outline."""
_EVEN_M, _EVEN_SHARE = 0.15, 0.01
_LEAST_JUMP_M, _LEAST_JUMP_SHARE = 0.5, 0.04
_GAP_STEPS = 4.0
"""Beams farther apart than this have others between them that met nothing."""
_NEAREST_M = 1.5
"""What is nearer is the vehicle itself."""
_BIN_RAD = np.radians(0.42)
"""Height of a ring where nothing says which a point is of: that of 64 beams over 27 degrees."""
_MOST_RINGS = 256
_BACK_RAD = 0.03
"""By more than points of one beam are out of order."""


class Edges(NamedTuple):
    """Outlines of things, N points.

    places: float64 [N, 3] m, on the ray between the last beam on a thing and the first beside it,
    as far away as the thing; inner: float64 [N, 3] m, the last point on it.
    """

    places: Array
    inner: Array


def find_edges(points: NDArray[np.float32], rings: NDArray[np.integer] | None = None) -> Edges:
    """Return the edges of a sweep, points [N, 3] in the LiDAR's frame.

    :param rings: [N], the beam that each is of; None: told from the order of the points or, where
        they have none, from their elevation.
    """
    usable = np.asarray(np.isfinite(points).all(axis=1))
    usable &= np.linalg.norm(np.where(usable[:, None], points, 0), axis=1) > _NEAREST_M
    cloud = points[usable].astype(np.float64)
    if len(cloud) < 2 * _SUPPORT + 2:
        return Edges(np.zeros((0, 3)), np.zeros((0, 3)))
    beams = rings_of(cloud) if rings is None else np.asarray(rings)[usable]
    around = np.arctan2(cloud[:, 1], cloud[:, 0])
    order = np.lexsort((around, beams))
    ring = _Rings(cloud[order], beams[order], around[order])
    found = [part for side in (-1, 1) for part in ring.edges(side)]
    return Edges(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def rings_of(points: Array) -> NDArray[np.intp]:
    """Return a number for each of the points [N, 3] that those of the same beam share.

    Drivers write beam after beam, or all beams of a direction at a time. In the first case the
    azimuth goes back once a beam; otherwise elevation tells the beams apart, roughly.
    """
    around = np.arctan2(points[:, 1], points[:, 0])
    steps = np.diff(around)
    back = steps * np.sign(np.median(steps)) < -_BACK_RAD
    turns = np.concatenate([[0], np.cumsum(back)])
    if 4 <= turns[-1] < _MOST_RINGS:
        return np.asarray(turns, np.intp)
    up = np.arctan2(points[:, 2], np.hypot(points[:, 0], points[:, 1]))
    return np.asarray(np.floor(up / _BIN_RAD), np.intp)


class _Rings:
    """Points in the order of ring and azimuth."""

    def __init__(self, points: Array, rings: NDArray[np.integer], around: Array) -> None:
        self._points, self._rings, self._around = points, rings, around
        self._ranges = np.linalg.norm(points, axis=1)
        self._rays = points / self._ranges[:, None]
        steps = np.diff(around)[np.diff(rings) == 0]
        self._gap = _GAP_STEPS * float(np.median(steps)) if len(steps) else np.inf
        self._index = np.arange(_SUPPORT, len(points) - _SUPPORT)

    def edges(self, side: int) -> list[tuple[Array, Array]]:
        """Return the edges before what is farther, and before what never returns."""
        here, beyond, ranges = self._index, self._index + side, self._ranges
        is_other = self._rings[beyond] != self._rings[here]
        # a ring is cut open where the azimuth comes round, which is no edge
        ends = ~(is_other & (np.abs(self._around[here]) > np.pi - self._gap))
        for step in range(_SUPPORT):
            ends &= self._is_even(here - side * step, here - side * (step + 1))
        is_gap = is_other | (np.abs(self._around[beyond] - self._around[here]) >= self._gap)
        least = np.maximum(_LEAST_JUMP_M, _LEAST_JUMP_SHARE * ranges[here])
        jumps = ends & ~is_gap & (ranges[beyond] - ranges[here] > least)
        near, far = here[jumps], beyond[jumps]
        last = here[ends & is_gap]
        after = 1.5 * self._rays[last] - 0.5 * self._rays[last - side]
        return [
            self._at(near, self._rays[near] + self._rays[far]), self._at(last, after),
        ]

    def _is_even(self, one: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.bool_]:
        close = np.abs(self._around[one] - self._around[other]) < self._gap
        off = np.abs(self._ranges[one] - self._ranges[other])
        even = off < _EVEN_M + _EVEN_SHARE * self._ranges[one]
        return np.asarray((self._rings[one] == self._rings[other]) & close & even)

    def _at(self, inner: NDArray[np.intp], rays: Array) -> tuple[Array, Array]:
        length = np.maximum(np.linalg.norm(rays, axis=1), 1e-12)
        return rays * (self._ranges[inner] / length)[:, None], self._points[inner]
