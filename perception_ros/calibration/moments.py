"""Sweeps of a bag with the image of each camera that was taken nearest in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.bags import messages
from perception_ros.bags.bag import Bag, Message, TF_STATIC
from perception_ros.bags.frames import camera_topics, read_frame
from perception_ros.bags.messages import CAMERA_INFO, POINT_CLOUD, stamp_ns
from perception_ros.core.errors import BagError, ImageError, TransformError
from perception_ros.core.types import Frame
from perception_ros.fusion.calibration import Calibration
from perception_ros.fusion.transforms import TransformTree
from perception_ros.ros.cdr import read_header

_ALL_TIME_NS = 2**62
_RING_NAMES = ('ring', 'channel', 'line')
"""What drivers call the number of the beam."""


@dataclass(frozen=True, slots=True, eq=False)
class CloudSweep:
    """points: float32 [N, 3] m; rings: [N], the beam of each, None where nothing says it."""

    stamp_ns: int
    frame_id: str
    points: NDArray[np.float32]
    rings: NDArray[np.integer] | None


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """An image, its CameraInfo (None: the bag has none) and the sweep nearest in time."""

    frame: Frame
    info: Any
    sweep: CloudSweep


@dataclass(frozen=True, slots=True)
class Topics:
    """What is read of a bag: topics of the cameras' images and infos, and of the LiDAR."""

    images: dict[str, str]
    infos: dict[str, str]
    lidar: str

    @classmethod
    def of(cls, bag: Bag, cameras: Sequence[str], lidar: str) -> Topics:
        """
        Find them.

        :param cameras: names; all where there is none.
        :param lidar: topic; '': the only one.
        :raises BagError: they are not there.
        """
        images = camera_topics(bag)
        if unknown := [name for name in cameras if name not in images]:
            raise BagError(
                f'{bag.path}: no camera {", ".join(unknown)}; expected some of '
                f'{", ".join(images)}'
            )
        images = {name: topic for name, topic in images.items() if name in cameras or not cameras}
        clouds = [name for name, topic in bag.topics.items() if POINT_CLOUD in topic.types]
        if (lidar and lidar not in clouds) or not clouds or (not lidar and len(clouds) > 1):
            raise BagError(
                f'{bag.path}: expected {lidar or "one topic"} of {POINT_CLOUD}, got '
                f'{", ".join(clouds) or "none"}; '
                + ('name it with --lidar' if clouds else 'record the points of the LiDAR as well')
            )
        infos = {name: topic for name, topic in bag.topics.items() if CAMERA_INFO in topic.types}
        found = {}
        for camera, topic in images.items():
            wanted = f'{topic.removesuffix("/compressed").rpartition("/")[0]}/camera_info'
            if wanted in infos:
                found[camera] = wanted
        return cls(images, found, lidar or clouds[0])


def read_moments(bag: Bag, topics: Topics, count: int) -> dict[str, list[Moment]]:
    """Return for each camera as many moments, spread evenly over the bag.

    :raises BagError: there is no sweep that can be read.
    """
    stamps = _stamps(bag, [topics.lidar, *topics.images.values(), *topics.infos.values()])
    sweeps = stamps[topics.lidar]
    if not sweeps:
        raise BagError(f'{bag.path}: no sweep of {topics.lidar} can be read')
    places = np.unique(np.linspace(0, len(sweeps) - 1, min(count, len(sweeps))).round())
    chosen = [sweeps[int(place)] for place in places]
    wanted: dict[str, dict[int, int]] = {}  # topic -> stamp of the sweep -> of the message
    for topic, there in stamps.items():
        if there:
            known = np.array(there)
            wanted[topic] = {
                stamp: there[int(np.abs(known - stamp).argmin())] for stamp in chosen
            }
    read = _read(bag, topics, wanted)
    found: dict[str, list[Moment]] = {}
    for camera, topic in topics.images.items():
        info = topics.infos.get(camera, '')
        found[camera] = [
            Moment(
                read[topic, wanted[topic][stamp]],
                read.get((info, wanted[info][stamp])) if info in wanted else None,
                read[topics.lidar, stamp],
            )
            for stamp in chosen
            if (topics.lidar, stamp) in read and topic in wanted
            and (topic, wanted[topic][stamp]) in read
        ]
    return found


def transforms(
    bag: Bag, calibration: Calibration | None = None
) -> tuple[TransformTree, list[str]]:
    """Return all that a bag says about frames, and what of it was refused.

    :param calibration: counts instead of what the bag says about the same frames.
    """
    tree, refused = TransformTree(_ALL_TIME_NS), []
    own = set()
    for frame, extrinsics in (calibration.placed if calibration else {}).values():
        tree.add(extrinsics.parent, frame, 0, extrinsics.matrix, is_static=True)
        own.add(frame)
    for topic in (TF_STATIC, '/tf'):
        for message in bag.messages([topic]) if topic in bag.topics else ():
            for item in bag.decode(message).transforms:
                child = item.child_frame_id.removeprefix('/')
                try:
                    if child not in own:
                        tree.add(
                            item.header.frame_id, child, stamp_ns(item.header),
                            messages.matrix_of(item.transform), is_static=topic == TF_STATIC,
                        )
                except TransformError as error:
                    refused.append(str(error))
    return tree, list(dict.fromkeys(refused))


def _stamps(bag: Bag, topics: Iterable[str]) -> dict[str, list[int]]:
    """Return the stamps of all messages, by topic."""
    found: dict[str, list[int]] = {topic: [] for topic in topics}
    for message in bag.messages(list(found)):
        try:
            found[message.topic].append(read_header(message.data, message.type).stamp_ns)
        except ImageError as error:
            bag.spoil(message.topic, str(error))
    return found


def _read(
    bag: Bag, topics: Topics, wanted: dict[str, dict[int, int]]
) -> dict[tuple[str, int], Any]:
    cameras = {topic: camera for camera, topic in topics.images.items()}
    stamps = {topic: set(there.values()) for topic, there in wanted.items()}
    found: dict[tuple[str, int], Any] = {}
    for message in bag.messages(list(wanted)):
        try:
            stamp = read_header(message.data, message.type).stamp_ns
            if stamp not in stamps[message.topic] or (message.topic, stamp) in found:
                continue
            if (item := _decoded(bag, message, cameras.get(message.topic))) is not None:
                found[message.topic, stamp] = item
        except (ImageError, BagError) as error:
            bag.spoil(message.topic, str(error))
    return found


def _decoded(bag: Bag, message: Message, camera: str | None) -> Any:
    if camera:
        return read_frame(bag, message, camera)
    decoded = bag.decode(message)
    return _sweep(decoded) if message.type == POINT_CLOUD else decoded


def _sweep(message: Any) -> CloudSweep:
    rows = messages.points_of(message)
    names = rows.dtype.names or ()
    if missing := [axis for axis in 'xyz' if axis not in names]:
        raise BagError(
            f'a cloud without {", ".join(missing)}: expected fields x, y and z, got '
            f'{", ".join(names) or "none"}; let the driver publish cartesian points'
        )
    points = np.stack([rows[axis] for axis in 'xyz'], axis=1).astype(np.float32)
    ring = next((name for name in _RING_NAMES if name in names), None)
    rings = rows[ring].astype(np.int64) if ring else None
    if rings is not None and len(np.unique(rings)) < 2:
        rings = None  # a driver that leaves the field empty
    return CloudSweep(stamp_ns(message.header), message.header.frame_id, points, rings)
