"""Where the ground is under a sweep, and which of its points lie on it.

The lowest points of the cells of a polar grid say where the ground is; a plane is fitted to them
robustly, and each cell may stand off the plane by what its neighbours say. So slopes, kerbs and a
road that bends upwards are followed, and a lorry that covers whole cells is not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from perception_ros.fusion.types import Matrix

Real = TypeVar('Real', bound=np.floating)

NEAREST_M, FARTHEST_M = 2.0, 90.0
_RINGS, _SECTORS = 28, 60
"""Rings grow with their distance: as many beams of a LiDAR fall into each."""
_LOW_SHARE = 0.05
"""Of a cell's points that may be lower than its ground: reflections come from below it."""
_LIMITS_M = (-20.0, 20.0)
"""Heights that are looked at, above and below the LiDAR."""
_STEPS_M = (1.0, 0.6, 0.36, 0.22, 0.15, 0.15)
"""How far from the plane a cell still counts, in each round of the fit."""
_MOST_POINTS = 40_000
"""More say nothing more about the ground."""
_OFF_M, _OFF_PER_M = 0.3, 0.02
"""How far the ground of a cell may be from the plane: so much, and more with the distance."""


@dataclass(frozen=True, slots=True, eq=False)
class Terrain:
    """The points of a sweep, N of them, in a level frame, and the ground there.

    The level frame has the LiDAR as its origin and the axes of the output's, whose z points up: a
    map's origin may be so far away that float32 tells no centimetres there.
    points: float32 [N, 3] m; heights: float32 [N], above the ground, m; NaN where a point is not
    finite; plane: float64 [3], a, b, c of the ground z = a x + b y + c, without its bumps;
    is_seen: whether points of this sweep say so; output_from_lidar: of the frame whose axes these
    are.
    """

    points: NDArray[np.float32]
    heights: NDArray[np.float32]
    plane: NDArray[np.float64]
    is_seen: bool
    output_from_lidar: Matrix

    @classmethod
    def of(
        cls,
        points: NDArray[np.float32],
        output_from_lidar: Matrix,
        unseen: NDArray[np.float64] | None = None,
    ) -> Terrain:
        """Look at the points [N, 3] of a sweep, in the LiDAR's frame.

        :param unseen: where the ground is if no point says so, as `floor_of`; None: that of the
            output's frame.
        """
        with np.errstate(invalid='ignore'):  # infinity in two directions is no number
            level = points @ output_from_lidar[:3, :3].T.astype(np.float32)
        cells = _cells(level[:, 0], level[:, 1])
        step = max(1, len(level) // _MOST_POINTS)
        known, lows = _lows(cells[::step], level[::step])
        plane = _plane(lows)
        if not len(lows):
            *normal, off_m = floor_of(output_from_lidar) if unseen is None else unseen
            nx, ny, nz = output_from_lidar[:3, :3] @ normal
            plane = np.array([-nx, -ny, off_m]) / nz
        bumps = _bumps(known, lows, plane)
        under = _on_plane(plane.astype(np.float32), level[:, 0], level[:, 1]) + bumps[cells]
        return cls(level, level[:, 2] - under, plane, len(lows) > 0, output_from_lidar)

    @property
    def floor(self) -> NDArray[np.float64]:
        """The plane in the LiDAR's frame, as `floor_of`."""
        a, b, c = self.plane
        upright = np.array([-a, -b, 1.0, c]) / np.sqrt(a * a + b * b + 1)
        return np.append(upright[:3] @ self.output_from_lidar[:3, :3], upright[3])

    @property
    def origin(self) -> NDArray[np.float64]:
        """Where the LiDAR is in the frame of the output, float64 [3]: level + origin = output."""
        return self.output_from_lidar[:3, 3]

    @property
    def level_from_lidar(self) -> Matrix:
        """How the level frame is turned against the LiDAR's."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.output_from_lidar[:3, :3]
        return matrix


def floor_of(frame_from_lidar: Matrix) -> NDArray[np.float64]:
    """Return where a frame's x and y lie, float64 [4]: n and d, for n p = d in the LiDAR's."""
    return np.append(frame_from_lidar[2, :3], -frame_from_lidar[2, 3])


def _cells(x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the cell of each point; too near, too far or no number: the last."""
    with np.errstate(invalid='ignore', divide='ignore'):
        squared = x * x + y * y
        ring = np.log(squared / np.float32(NEAREST_M**2))
        ring *= np.float32(_RINGS / np.log(FARTHEST_M**2 / NEAREST_M**2))
        sector = np.arctan2(y, x) * np.float32(_SECTORS / (2 * np.pi)) + np.float32(_SECTORS / 2)
        inside = (ring >= 0) & (ring < _RINGS)
        cells = ring.astype(np.int32) * _SECTORS + sector.astype(np.int32) % _SECTORS
    return np.where(inside, cells, _RINGS * _SECTORS).astype(np.intp)


def _lows(
    cells: NDArray[np.intp], points: NDArray[np.float32]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the cells that have points, and of each a low one, float64 [K, 3].

    Cell, height and index are one number each, so that one sort brings them into order; heights
    are so fine that hardly ever the order of the points decides.
    """
    low, high = _LIMITS_M
    z = points[:, 2]
    usable = np.flatnonzero((cells < _RINGS * _SECTORS) & (z > low) & (z < high))
    micrometres = ((z[usable] - low) * 1e6).astype(np.int64)
    keys = np.sort(cells[usable] << 50 | micrometres << 24 | usable)
    owners = keys >> 50
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    counts = np.diff(begins, append=len(keys))
    picked = keys[begins + (counts * _LOW_SHARE).astype(np.intp)] & 0xFFFFFF
    return owners[begins], points[picked].astype(np.float64)


def _plane(lows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit z = a x + b y + c to the lows [K, 3], less and less to what stands off."""
    if not len(lows):
        return np.zeros(3)
    x, y, z = lows.T
    near = z[np.hypot(x, y) < 15]
    plane = np.array([0, 0, np.percentile(near if len(near) else z, 20)])
    rows = np.stack([x, y, np.ones_like(x)], axis=1)
    importance = 1 / np.hypot(x, y)
    for step in _STEPS_M:
        off = z - rows @ plane
        weights = importance * np.exp(-((off / step) ** 2) / 2)
        weighted = rows * weights[:, None]
        # Few cells, or cells in one direction alone, say nothing of the slope: it is small then.
        normal = weighted.T @ rows + weights.sum() * np.diag([1e-1, 1e-1, 1e-9])
        if not np.isfinite(normal).all() or weights.sum() <= 0:
            break
        plane = np.linalg.solve(normal, weighted.T @ z)
    return plane


def _bumps(
    cells: NDArray[np.intp], lows: NDArray[np.float64], plane: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return how far the ground of each cell is above the plane, and 0 for the last."""
    x, y, z = lows.T
    off, radius = z - _on_plane(plane, x, y), np.hypot(x, y)
    grid = np.full(_RINGS * _SECTORS, np.nan)
    plausible = np.abs(off) < _OFF_M + _OFF_PER_M * radius
    grid[cells[plausible]] = off[plausible]
    polar = grid.reshape(_RINGS, _SECTORS)
    around = np.concatenate([polar[:, -1:], polar, polar[:, :1]], axis=1)
    around = np.pad(around, ((1, 1), (0, 0)), constant_values=np.nan)
    near = np.stack([
        around[ring : ring + _RINGS, sector : sector + _SECTORS]
        for ring in range(3) for sector in range(3)
    ])
    near.sort(axis=0)  # what is not a number goes last
    counts = np.isfinite(near).sum(axis=0)
    # The lower half of the neighbours: what stands on the ground is above it.
    rank = np.maximum(counts - 1, 0) * 2 // 5
    bumps = np.take_along_axis(near, rank[None], axis=0)[0]
    return np.append(np.nan_to_num(bumps).ravel(), 0).astype(np.float32)


def _on_plane(
    plane: NDArray[Real], x: NDArray[Real], y: NDArray[Real]
) -> NDArray[Real]:
    return np.asarray(plane[0] * x + plane[1] * y + plane[2])
