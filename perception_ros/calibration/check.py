"""The whole check: from a bag to what is to be said about each camera."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bags.bag import Bag
from perception_ros.bags.frames import camera_topics
from perception_ros.calibration.faults import (
    Fault,
    lens_faults,
    place_faults,
    time_faults,
    view_faults,
)
from perception_ros.calibration.moments import Moment, read_moments, Topics, transforms
from perception_ros.core.errors import (
    CalibrationError,
    ExtrapolationError,
    ImageError,
    TransformError,
)
from perception_ros.core.poses import difference, inverse, Matrix
from perception_ros.fusion.alignment import Estimate, estimate, Search, Sight, Verdict
from perception_ros.fusion.calibration import Calibration, disagreements, unused
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.camera_info import camera_model
from perception_ros.fusion.edges import Edges, find_edges
from perception_ros.fusion.transforms import TransformTree

_LEAST = Search()
"""What is asked of an answer."""
_WIDE_DEG = 6.0
"""To each side: what is searched where less tells nothing."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is checked: cameras (none: all), the LiDAR's topic ('': the only one), how much."""

    cameras: tuple[str, ...] = ()
    lidar: str = ''
    frames: int = 10
    is_rectified: bool = False
    search: Search = field(default_factory=Search)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A moment with what is said about it: lens, place and frame of the camera."""

    moment: Moment
    lens: CameraModel
    camera_from_lidar: Matrix
    frame_id: str

    def pixels(self) -> NDArray[np.uint8]:
        """Return the image, uint8 [H, W, 3] RGB."""
        return self.moment.frame.image.rgb()


@dataclass(frozen=True, slots=True, eq=False)
class Checked:
    """What is said about one camera, by one source: 'tf' or 'file'."""

    camera: str
    source: str
    looks: tuple[Look, ...]
    faults: tuple[Fault, ...]
    estimate: Estimate | None
    seen: float
    """Share of the points that the image shows."""
    offset_s: float
    """From the sweep to the image."""

    @property
    def verdict(self) -> Verdict:
        """Faults that are errors refute it, too."""
        if any(fault.level == 'error' for fault in self.faults):
            return 'refuted'
        return self.estimate.verdict if self.estimate else 'unclear'

    def said(self) -> str:
        """Say in a sentence what the images say."""
        found = self.estimate
        if found is None:
            return 'not judged'
        turn = 'roll {:+.1f}, pitch {:+.1f}, yaw {:+.1f} deg'.format(*found.correction_deg)
        if found.verdict == 'refuted':
            return f'the image says {turn}'
        if found.verdict == 'agrees':
            return f'the best rotation near it is {found.turn_deg:.1f} deg away'
        return (
            f'the edges do not tell: of {found.edges} (at least {_LEAST.least_edges} are needed) '
            f'{found.sure:.0%} of the draws agree on one rotation ({_LEAST.sure:.0%} are needed); '
            f'look at more frames, or for an error beyond {_WIDE_DEG:g} deg'
        )


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Of a bag: what was looked at, and what was found."""

    topics: Topics
    cameras: tuple[Checked, ...]
    problems: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of what is in use: the file's where there is one."""
        used = {item.camera: item.verdict for item in self.cameras}  # the file's come last
        for verdict in ('refuted', 'unclear'):
            if verdict in used.values():
                return 'refuted' if verdict == 'refuted' else 'unclear'
        return 'agrees'

    def as_json(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return {
            'verdict': self.verdict, 'lidar': self.topics.lidar,
            'problems': list(self.problems), 'cameras': [_json(item) for item in self.cameras],
        }


def check(
    bag: Bag, options: Options, calibration: Calibration | None = None,
    track: Callable[[Sequence[str]], Iterator[str]] = iter,
) -> Report:
    """Check the cameras of a bag; with a calibration file what both it and tf say.

    :param track: what the cameras are drawn through, such as a progress bar.
    :raises BagError: sweeps or images are not there.
    """
    topics = Topics.of(bag, options.cameras, options.lidar)
    moments = read_moments(bag, topics, options.frames)
    tree, problems = transforms(bag)
    sources: dict[str, tuple[TransformTree, Calibration | None]] = {'tf': (tree, None)}
    if calibration:
        problems += unused(calibration, camera_topics(bag))
        problems += [str(item) for item in disagreements(calibration, tree)]
        sources['file'] = (transforms(bag, calibration)[0], calibration)
    edges: dict[int, Edges] = {}
    checked = []
    for camera in track(list(topics.images)):
        is_known = calibration and (calibration.lidar or camera in calibration.cameras)
        found = [
            _camera(camera, name, moments[camera], source, options, edges)
            for name, source in sources.items() if name == 'tf' or is_known
        ]
        if calibration and not is_known:
            problems.append(f'{camera}: the calibration file says nothing of it; tf was checked')
        if len(found) > 1 and not found[0].looks and found[1].looks:
            del found[0]  # tf does not know it, which is why there is a file
        found = _against_one_another(found)
        checked += found
    return Report(topics, tuple(checked), tuple(problems + bag.problems))


def _against_one_another(found: list[Checked]) -> list[Checked]:
    """Refute what is far from where the other source has the camera and the images agree.

    What is so far off shows no edges at all where they should be, and would pass as unclear.
    """
    if len(found) < 2 or not all(item.looks for item in found):
        return found
    tf, file = found
    _, turned = difference(tf.looks[0].camera_from_lidar, file.looks[0].camera_from_lidar)
    judged = []
    for item, other in ((tf, file), (file, tf)):
        if item.verdict == 'unclear' and other.verdict == 'agrees' and turned > _FAR_OFF_RAD:
            hint = '; degrees for radians?' if turned > _WIDE_OFF_RAD else ''
            item = replace(item, faults=(*item.faults, Fault('error', (
                f'it is turned by {np.degrees(turned):.0f} degrees against '
                f'{"tf" if other is tf else "the file"}, with which the images agree{hint}'
            ))))
        judged.append(item)
    return judged


def _camera(
    camera: str, name: str, moments: Sequence[Moment],
    source: tuple[TransformTree, Calibration | None], options: Options, edges: dict[int, Edges],
) -> Checked:
    looks: list[Look] = []
    faults: list[Fault] = [] if moments else [Fault('error', 'no image and sweep can be read')]
    if not source[0].frames:
        faults.append(Fault('error', (
            'nobody says where the sensors are: record /tf and /tf_static as well, or give a '
            'calibration file (--calibration)'
        )))
        return Checked(camera, name, (), tuple(faults), None, 0.0, 0.0)
    if moments and source[1]:
        faults += _other_frames(camera, moments[0], source[1])
    for moment in moments:
        try:
            looks.append(_look(camera, moment, *source, options.is_rectified))
        except (CalibrationError, TransformError, ImageError) as error:
            faults.append(Fault('error', str(error)))
    if not looks:
        return Checked(camera, name, (), tuple(dict.fromkeys(faults)), None, 0.0, 0.0)
    first = looks[0]
    seen = [len(look.lens.see(look.moment.sweep.points, look.camera_from_lidar).indices)
            for look in looks]
    points = sum(len(look.moment.sweep.points) for look in looks)
    offset_s = float(np.median([
        (look.moment.frame.stamp_ns - look.moment.sweep.stamp_ns) / 1e9 for look in looks
    ]))
    faults += lens_faults(first.moment.info, first.lens, is_rectified=options.is_rectified)
    faults += place_faults(
        first.camera_from_lidar, first.frame_id, first.moment.sweep.frame_id)
    faults += time_faults(offset_s) + view_faults(sum(seen), points)
    sights = list(_sights(looks, edges))
    found = _estimate(sights, options.search)
    if found.verdict != 'agrees':
        faults += _mistakes(sights, options.search, found)
    return Checked(
        camera, name, tuple(looks), tuple(dict.fromkeys(faults)), found,
        sum(seen) / max(points, 1), offset_s,
    )


def _other_frames(camera: str, moment: Moment, calibration: Calibration) -> list[Fault]:
    """Say where a file is of other frames than the bag.

    A camera's frame in the file counts instead of its images'; the LiDAR's is its messages' alone.
    """
    own, lidar, faults = calibration.cameras.get(camera), calibration.lidar, []
    if own and own.frame != moment.frame.frame_id:
        faults.append(Fault(
            'warning', f'cameras.{camera}.frame of the file is {own.frame!r}, which is taken; the '
            f'images name {moment.frame.frame_id!r}'
        ))
    if lidar and lidar.frame != moment.sweep.frame_id:
        faults.append(Fault(
            'error', f'lidar.frame of the file is {lidar.frame!r}, and the points are in '
            f'{moment.sweep.frame_id!r}: what the file says of it counts nowhere; name that frame'
        ))
    return faults


def _look(
    camera: str, moment: Moment, tree: TransformTree, calibration: Calibration | None,
    is_rectified: bool,
) -> Look:
    pixels = moment.frame.image
    size = pixels.width, pixels.height
    own = calibration.cameras.get(camera) if calibration else None
    if own and own.intrinsics:
        lens = own.intrinsics.lens().for_image(*size)
    elif moment.info is None:
        raise CalibrationError(
            'the bag has no CameraInfo beside the images; record camera_info, or give intrinsics '
            'in a calibration file'
        )
    else:
        lens = camera_model(moment.info, 'rectified' if is_rectified else 'raw', size)
    frame_id = (calibration or Calibration()).frame_of(camera, moment.frame.frame_id)
    return Look(moment, lens, _place(moment, frame_id, tree), frame_id)


def _place(moment: Moment, frame_id: str, tree: TransformTree) -> Matrix:
    """Return `camera_from_lidar`, with the vehicle's motion from sweep to image where known."""
    frame, sweep = moment.frame, moment.sweep
    world = tree.root(sweep.frame_id)
    try:
        return tree.lookup_between(
            frame_id, frame.stamp_ns, sweep.frame_id, sweep.stamp_ns, world)
    except ExtrapolationError:
        return tree.lookup(frame_id, sweep.frame_id)


def _sights(looks: Sequence[Look], edges: dict[int, Edges]) -> Iterator[Sight]:
    for look in looks:
        sweep = look.moment.sweep
        if sweep.stamp_ns not in edges:
            edges[sweep.stamp_ns] = find_edges(sweep.points, sweep.rings)
        grey = cv2.cvtColor(look.pixels(), cv2.COLOR_RGB2GRAY)
        yield Sight(
            np.asarray(grey, np.uint8), look.lens, look.camera_from_lidar, edges[sweep.stamp_ns])


def _estimate(sights: Sequence[Sight], search: Search) -> Estimate:
    """Look near what was given; if that tells nothing, or points farther away, look there too."""
    found = estimate(sights, search)
    inside = max(map(abs, found.correction_deg)) < search.reach_deg - search.step_deg
    if found.verdict == 'agrees' or (found.verdict == 'refuted' and inside):
        return found
    wide = replace(search, reach_deg=max(_WIDE_DEG, search.reach_deg))
    farther = estimate(sights, wide) if wide != search else found
    return found if farther.verdict == 'unclear' and inside else farther


_OPTICAL_FROM_BODY = np.array(
    [[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], np.float64)


def _about_z(degrees: float) -> Matrix:
    matrix = np.eye(4)
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    matrix[:2, :2] = [[cos, -sin], [sin, cos]]
    return matrix


_FAR_OFF_RAD, _WIDE_OFF_RAD = np.radians((2.0, 20.0))
"""Beyond what the images leave open; and beyond what people get wrong by measuring."""
_FEW = 3
"""Images in which a mistake shows that is as large as these."""
_MISTAKES: Mapping[str, Callable[[Matrix], Matrix]] = {
    'the camera frame has x forward and z up instead of being an optical one; name the optical '
    'frame in the header of the images': lambda known: _OPTICAL_FROM_BODY @ known,
    'the image is upside down: turn it, or the camera frame by 180 degrees about its z':
        lambda known: _about_z(180) @ known,
    'the LiDAR is turned by 180 degrees about its z': lambda known: known @ _about_z(180),
    'the LiDAR is turned by 90 degrees about its z': lambda known: known @ _about_z(90),
    'the LiDAR is turned by -90 degrees about its z': lambda known: known @ _about_z(-90),
    'the transform is the wrong way round, parent and child exchanged': inverse,
}
"""What people get wrong, and what would be right then."""


def _mistakes(sights: Sequence[Sight], search: Search, given: Estimate) -> list[Fault]:
    """Return the mistake that explains the images better than a small turn does."""
    best, said = (0.0 if given.verdict == 'unclear' else given.sure), ''
    coarse = replace(search, step_deg=2 * search.step_deg)
    for text, mended in _MISTAKES.items():
        other = estimate(
            (sight._replace(camera_from_lidar=mended(sight.camera_from_lidar))
             for sight in sights[:_FEW]), coarse)
        if other.verdict != 'unclear' and other.sure > best:
            best, said = other.sure, text
    return [Fault('error', f'the image fits if {said}')] if said else []


def _json(item: Checked) -> dict[str, Any]:
    found = item.estimate
    answers: dict[str, Any] = {
        'camera': item.camera, 'source': item.source, 'verdict': item.verdict,
        'said': item.said(), 'frames': len(item.looks), 'points_seen': round(item.seen, 5),
        'image_after_sweep_s': round(item.offset_s, 6),
        'faults': [fault._asdict() for fault in item.faults],
    }
    if found:
        answers['rotation'] = {
            'verdict': found.verdict,
            **{f'{name}_deg': round(value, 3) for name, value in zip(
                ('roll', 'pitch', 'yaw'), found.correction_deg, strict=True)},
            **{f'{name}_spread_deg': round(value, 3) for name, value in zip(
                ('roll', 'pitch', 'yaw'), found.spread_deg, strict=True)},
            'edges': found.edges, 'clear': round(found.clear, 3), 'sure': round(found.sure, 3),
            'near': round(found.near, 3),
        }
        answers['translation'] = 'not judged'
        matrix = item.looks[0].camera_from_lidar
        answers['camera_from_lidar'] = matrix.tolist()
        answers['camera_from_lidar_best'] = found.corrected(matrix).tolist()
    return answers
