"""Whether LiDAR and image fit: outlines of the sweep against edges of the image, without labels.

Both are compared at the given extrinsic and at rotations around it. A rotation about the camera
moves all points in the image alike, whatever their distance, so that much can be told from few
frames; a shift of some centimetres moves only what is near, and is not judged.

How sure the answer is comes from the images themselves: their parts are drawn anew many times
(bootstrap), and the best rotation is looked for in each draw.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.core.poses import Matrix
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.edges import Array, Edges

Verdict = Literal['agrees', 'refuted', 'unclear']

_FOCAL_PX = 800.0
"""Images whose pixels are finer are made smaller: edges are blurred wider than that anyway."""
_BLUR_DEG, _AROUND_DEG = 0.15, 1.2
"""An edge counts against what is around it, so that texture does not attract the points."""
_NOISE = 2.0
"""Grey levels by which neighbours differ without any edge."""
_TILES = 20, 12
"""Parts of the image, across and down, that the bootstrap draws."""
_DRAWS = 200
_CHUNK = 200_000
"""Points that are projected at once."""
_TO_BODY = np.array([[0, 0, -1], [1, 0, 0], [0, 1, 0]], np.float64)
"""From a turn of what is seen about x, y, z of an optical frame to roll, pitch, yaw (REP-103) of
the camera that makes it seem so."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which rotations are tried, and what is asked of the answer; angles in degrees."""

    reach_deg: float = 3.5
    step_deg: float = 0.25
    tolerance_deg: float = 0.75
    """What moves less is no fault: it is as fine as few frames can tell."""
    near_deg: float = 0.75
    """Draws so near to the best say the same."""
    sure: float = 0.6
    """Share of the draws that must say the same; images of other places reach 0.4."""
    clear: float = 3.5
    """How many standard deviations the best score must stand above the mean of all."""
    least_edges: int = 40

    def turns_deg(self) -> Array:
        """Return rotation vectors [G, 3] about x, y, z of the optical frame.

        A turn about z moves what is near the image's middle little: its steps are twice as wide.
        """
        count = round(self.reach_deg / self.step_deg)
        fine = np.arange(-count, count + 1) * self.step_deg
        coarse = fine[count % 2 :: 2]
        grid = np.meshgrid(fine, fine, coarse, indexing='ij')
        return np.stack([axis.ravel() for axis in grid], axis=1)


class Sight(NamedTuple):
    """An image, uint8 [H, W] grey, and the edges of the sweep that goes with it."""

    grey: NDArray[np.uint8]
    lens: CameraModel
    camera_from_lidar: Matrix
    edges: Edges


class Estimate(NamedTuple):
    """What images say about an extrinsic.

    correction_deg: roll, pitch, yaw (REP-103) by which the camera is to be turned, where it
    stands; spread_deg: standard deviation of each over the draws; edges: how many were used;
    clear: see `Search.clear`; sure: the share of draws near the correction; near: the share
    within the tolerance of what was given.
    """

    verdict: Verdict
    correction_deg: tuple[float, float, float]
    spread_deg: tuple[float, float, float]
    edges: int
    clear: float
    sure: float
    near: float

    @property
    def turn_deg(self) -> float:
        """How far it moves what is seen, as `moves_deg` has it."""
        return float(moves_deg(_TO_BODY.T @ np.array(self.correction_deg)))

    def corrected(self, camera_from_lidar: Matrix) -> Matrix:
        """Return the extrinsic that fits best."""
        turn = np.radians(_TO_BODY.T @ np.array(self.correction_deg))
        matrix = np.eye(4)
        matrix[:3, :3] = cv2.Rodrigues(turn)[0]
        return np.asarray(matrix @ camera_from_lidar)


def estimate(sights: Iterable[Sight], search: Search) -> Estimate:
    """Return what images of one camera say about where it is, all of them together."""
    turns_deg = search.turns_deg()
    total, count = np.zeros((_TILES[0] * _TILES[1], len(turns_deg))), 0
    for sight in sights:
        scores, used = score(sight, turns_deg)
        total += scores
        count += used
    return judge(total, turns_deg, count, search)


def score(sight: Sight, turns_deg: Array) -> tuple[Array, int]:
    """Return how well each part of an image fits at each of the rotations [G, 3], and edges used.

    The scores, float64 [tiles, G], are sums over edges of how much the image changes there, across
    the outline, beyond what it changes all around.
    """
    grey, lens = _reduced(sight.grey, sight.lens)
    matrix = sight.camera_from_lidar
    places = sight.edges.places @ matrix[:3, :3].T + matrix[:3, 3]
    inner = sight.edges.inner @ matrix[:3, :3].T + matrix[:3, 3]
    pixels, across = lens.project(places), lens.project(inner)
    margin = np.radians(np.abs(turns_deg).max(initial=0)) * lens.matrix[0, 0]
    size = lens.width + margin, lens.height + margin
    near = ((pixels > -margin) & (pixels < size) & np.isfinite(across)).all(axis=1)
    places, pixels, across = places[near], pixels[near], across[near] - pixels[near]
    scores = np.zeros((_TILES[0] * _TILES[1], len(turns_deg)))
    if not len(places):
        return scores, 0
    tiles = _tiles(pixels, lens)
    order = np.argsort(tiles, kind='stable')
    places, across, tiles = places[order], across[order], tiles[order]
    filled, starts = np.unique(tiles, return_index=True)
    columns, rows = (across / np.maximum(np.linalg.norm(across, axis=1), 1e-9)[:, None]).T
    weights = np.stack([columns**2, 2 * columns * rows, rows**2]).astype(np.float32)
    change = _change(grey, lens.matrix[0, 0])
    ways = _ways(lens, places, turns_deg)
    powers = _powers(turns_deg).astype(np.float32)
    step = max(_CHUNK // len(places), 1)
    for start in range(0, len(turns_deg), step):
        values = _look_up(change, powers[start : start + step] @ ways, weights)
        scores[filled, start : start + step] = np.add.reduceat(values, starts, axis=1).T
    return scores, len(places)


def moves_deg(turns_deg: Array) -> Array:
    """Return how far turns [..., 3] move what is seen: a roll does half as far as the others."""
    return np.asarray(np.linalg.norm(turns_deg * [1, 1, 0.5], axis=-1))


def judge(scores: Array, turns_deg: Array, edges: int, search: Search) -> Estimate:
    """Return what scores [tiles, G] at rotations [G, 3] say."""
    whole = scores.sum(axis=0)
    best = turns_deg[whole.argmax()]
    clear = float((whole.max() - whole.mean()) / max(float(whole.std()), 1e-12))
    filled = scores[(scores != 0).any(axis=1)]
    random = np.random.default_rng(0)  # the same images give the same answer
    drawn = random.multinomial(
        len(filled), np.full(len(filled), 1 / max(len(filled), 1)), _DRAWS
    ) if len(filled) else np.zeros((_DRAWS, 0))
    found = turns_deg[(drawn @ filled).argmax(axis=1)]
    agree = moves_deg(found - best) <= search.near_deg
    middle = found[agree].mean(axis=0) if agree.any() else best
    near = float((moves_deg(found) <= search.tolerance_deg).mean())
    sure = float((moves_deg(found - middle) <= search.near_deg).mean())
    verdict: Verdict = 'unclear'
    if edges >= search.least_edges and clear >= search.clear and sure >= search.sure:
        verdict = 'agrees' if moves_deg(middle) <= search.tolerance_deg else 'refuted'
    roll, pitch, yaw = (_TO_BODY @ middle).tolist()
    spread = np.abs(_TO_BODY) @ found.std(axis=0)
    return Estimate(
        verdict, (roll, pitch, yaw), (spread[0], spread[1], spread[2]), edges, clear, sure, near
    )


def _reduced(grey: NDArray[np.uint8], lens: CameraModel) -> tuple[NDArray[np.uint8], CameraModel]:
    height, width = grey.shape
    by = min(_FOCAL_PX / lens.matrix[0, 0] * lens.width / width, 1.0)
    size = max(round(width * by), 1), max(round(height * by), 1)
    small = cv2.resize(grey, size, interpolation=cv2.INTER_AREA) if by < 1 else grey
    return np.asarray(small, np.uint8), lens.for_image(*size)


def _change(grey: NDArray[np.uint8], focal_px: float) -> NDArray[np.float32]:
    """Return how an image changes at each pixel: float32 [3, H, W], xx, xy and yy of a tensor.

    Strong edges count little more than weak ones, and what is around is taken off.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0)
    along = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) / 8
    down = cv2.Sobel(smooth, cv2.CV_32F, 0, 1) / 8
    size = np.hypot(along, down)
    fine, wide = (max(np.radians(blur) * focal_px, 0.5) for blur in (_BLUR_DEG, _AROUND_DEG))
    usual = cv2.GaussianBlur(size, (0, 0), wide) + _NOISE
    along, down = (part / (size + usual) for part in (along, down))
    return np.stack([
        np.asarray(cv2.GaussianBlur(part, (0, 0), fine) - cv2.GaussianBlur(part, (0, 0), wide))
        for part in (along * along, along * down, down * down)
    ])


def _ways(lens: CameraModel, places: Array, turns_deg: Array) -> NDArray[np.float32]:
    """Return how points [N, 3] of the camera's frame go through the image as it turns.

    float32 [2, P, N]: columns and rows are `_powers` times it. A polynomial of the third degree is
    a tenth of a pixel off for turns of some degrees, and much faster than to project anew.
    """
    reach = float(np.abs(turns_deg).max())
    steps = np.linspace(-reach, reach, 4)
    some = np.stack([axis.ravel() for axis in np.meshgrid(steps, steps, steps)], axis=1)
    turns = [cv2.Rodrigues(turn)[0] for turn in np.radians(some)]
    pixels = np.stack([lens.project(places @ turn.T) for turn in turns])
    pixels[:, np.isnan(pixels).any(axis=(0, 2))] = -1e6  # leaves the lens's field: never inside
    fitted = np.einsum('ps,snc->cpn', np.linalg.pinv(_powers(some)), pixels)
    return np.ascontiguousarray(fitted, np.float32)


def _powers(turns_deg: Array) -> Array:
    """Return products of up to three of the angles [G, 3], [G, P]."""
    x, y, z = np.radians(turns_deg).T
    one = np.ones_like(x)
    return np.stack([
        one, x, y, z, x * x, y * y, z * z, x * y, x * z, y * z, x * y * z, x**3, y**3, z**3,
        x * x * y, x * x * z, y * y * x, y * y * z, z * z * x, z * z * y,
    ], axis=1)


def _look_up(
    change: NDArray[np.float32], pixels: NDArray[np.float32], weights: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the changes [G, N] at pixels [2, G, N], weighted [3, N]; zeros outside the image."""
    height, width = change.shape[1:]
    columns, rows = pixels.astype(np.int32)
    inside = (pixels >= 0).all(axis=0) & (columns < width) & (rows < height)
    index = np.where(inside, rows * width + columns, 0)
    xx, xy, yy = (part.take(index) * weight for part, weight in zip(
        change.reshape(3, -1), weights, strict=True))
    return np.asarray((xx + xy + yy) * inside, np.float32)


def _tiles(pixels: Array, lens: CameraModel) -> NDArray[np.intp]:
    """Return the part of the image that each of pixels [N, 2] is in, or is nearest to."""
    share = np.clip(pixels / [lens.width, lens.height], 0, 1 - 1e-9)
    columns, rows = (share * _TILES).astype(np.intp).T
    return np.asarray(rows * _TILES[0] + columns, np.intp)
