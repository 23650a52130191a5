"""How large an error of an extrinsic is found: cameras are turned on purpose, by known angles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from pydantic import BaseModel

from perception_ros.core.poses import Matrix
from perception_ros.fusion.alignment import Estimate, estimate, Search, Sight
from perception_ros.fusion.edges import find_edges
from perception_ros.recording.sweeps import labelled_sweeps

INJECTED_DEG = (0.5, 1.0, 2.0, 3.0)
_AXES = {'': (0, 0, 1), 'roll': (0, 0, 1), 'pitch': (1, 0, 0), 'yaw': (0, 1, 0)}
"""In the optical frame; none where there is no error."""


class AlignmentFigures(BaseModel):
    """Of all checks with an error of one size; n of them.

    right: refuted with a correction that brings it to within the tolerance.
    """

    name: str
    axis: str
    error_deg: float | None
    n: int
    agrees: int
    refuted: int
    unclear: int
    right: int
    left_p50_deg: float | None
    """Median of what would be left after the correction, of those that are not unclear."""


class _Job(NamedTuple):
    """Images to check together, group after group, with an error about one axis."""

    name: str
    axis: str
    error_deg: float
    groups: Sequence[Sequence[Sight]]


def measure(
    paths: Iterable[Path],
    search: Search | None = None,
    track: Callable[[Sequence[_Job]], Iterable[_Job]] = iter,
) -> list[AlignmentFigures]:
    """Turn the cameras of labelled sweeps by known angles, both ways about each axis, and check.

    Each image by itself, then all images of the cameras that have several. Before that, points
    over images of other places, where the only right answer is that they tell nothing.

    :param track: what the work is drawn through, such as a progress bar.
    :raises DatasetError: a path is no labelled data.
    """
    search = search or Search()
    sights: dict[str, list[Sight]] = {}
    for path in paths:
        for name, sight in _sights(path):
            sights.setdefault(name, []).append(sight)
    single = [[sight] for group in sights.values() for sight in group]
    several = [group for group in sights.values() if len(group) > 1]
    found = [_of_others([sight for group in sights.values() for sight in group], search)]
    jobs = [
        _Job(name, axis, error_deg, groups)
        for name, groups in (('one image', single), ('all of a camera', several))
        for axis in (_AXES if groups else ())
        for error_deg in (INJECTED_DEG if axis else (0.0,))
    ]
    return [*found, *(_figures(job, search) for job in track(jobs))]


def _figures(job: _Job, search: Search) -> AlignmentFigures:
    name, axis, error_deg, groups = job
    counts: Counter[str] = Counter()
    left = []
    for group in groups:
        for sign in (1, -1) if axis else (1,):
            turn = np.eye(4)
            turn[:3, :3] = cv2.Rodrigues(np.radians(np.multiply(_AXES[axis], sign * error_deg)))[0]
            wrong = [
                sight._replace(camera_from_lidar=turn @ sight.camera_from_lidar)
                for sight in group
            ]
            answer = estimate(wrong, search)
            remains = _remains(answer, turn)
            counts['n'] += 1
            counts[answer.verdict] += 1
            counts['right'] += answer.verdict == 'refuted' and remains <= search.tolerance_deg
            if answer.verdict != 'unclear':
                left.append(remains)
    return AlignmentFigures(
        name=name, axis=axis, error_deg=error_deg, n=counts['n'], agrees=counts['agrees'],
        refuted=counts['refuted'], unclear=counts['unclear'], right=counts['right'],
        left_p50_deg=float(np.median(left)) if left else None,
    )


def _of_others(sights: Sequence[Sight], search: Search) -> AlignmentFigures:
    counts: Counter[str] = Counter()
    for place, sight in enumerate(sights):
        height, width = sight.grey.shape
        for other in (*sights[:place], *sights[place + 1 :]):
            grey = np.asarray(cv2.resize(other.grey, (width, height)), np.uint8)
            counts[estimate([sight._replace(grey=grey)], search).verdict] += 1
    return AlignmentFigures(
        name='another place', axis='', error_deg=None, n=counts.total(),
        agrees=counts['agrees'], refuted=counts['refuted'], unclear=counts['unclear'], right=0,
        left_p50_deg=None,
    )


def _remains(answer: Estimate, turn: Matrix) -> float:
    """Return how far the corrected camera would still be turned, in degrees."""
    rest = answer.corrected(turn)[:3, :3]
    return float(np.degrees(np.linalg.norm(cv2.Rodrigues(rest)[0])))


def _sights(path: Path) -> Iterator[tuple[str, Sight]]:
    for sweep in labelled_sweeps(path):
        edges = find_edges(sweep.fusion_set.sweep.points, sweep.rings)
        for view in sweep.fusion_set.views:
            grey = cv2.imread(str(sweep.images[view.camera]), cv2.IMREAD_GRAYSCALE)
            yield view.camera, Sight(
                np.asarray(grey, np.uint8), view.lens, view.camera_from_lidar, edges)
