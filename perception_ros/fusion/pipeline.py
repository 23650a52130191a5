"""The way of a LiDAR sweep, from the sensor to painted points, objects and tracks.

    cloud ------> Sweep --match--> MatchedSweep --place--> PlacedSweep --fuse--> FusedSweep
    boxes, masks -------^                          ^
    CameraInfo, transforms, calibration file ------'

`SweepPipeline` is these steps without ROS, a thread or a clock: who drives it brings what comes
in, under one lock, and lets `fuse` work in a thread of its own. An error about one camera costs
that camera's part of one sweep and is told in `PlacedSweep.problems`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import ExtrapolationError, FusionError, TransformError
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_ros.fusion import calibration as calibrations
from perception_ros.fusion.calibration import Calibration
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.camera_info import camera_model
from perception_ros.fusion.config import FusionConfig
from perception_ros.fusion.ground import floor_of, Terrain
from perception_ros.fusion.matcher import MatchedImage, MatchedSweep
from perception_ros.fusion.objects import find_objects, see_all
from perception_ros.fusion.painting import paint
from perception_ros.fusion.transforms import TransformTree
from perception_ros.fusion.types import FusionSet, Matrix, Objects, Paint, Sweep, View

CARRIED_ON_NS = 1_000_000_000
"""For so long a frame that fell silent, odometry above all, is thought to go on as before."""

BEHIND_NS = 200_000_000
"""What is known of the vehicle's motion may be so old: braking hard it is off by 0.3 m then."""

APART_NS = 1_000_000_000
"""A camera whose images are further than this from a sweep is not late: its clock is another."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageOutputs:
    """What a perception node says about one image, under the frame of its header.

    problems: what cannot be used of it, and why.
    """

    frame_id: str
    detections: Detections | None = None
    ids: tuple[str, ...] = ()
    semantic: Mapping[str, SemanticMask] | None = None
    instances: InstanceMasks | None = None
    problems: tuple[str, ...] = ()

    @property
    def says_anything(self) -> bool:
        """Whether something of it can be used."""
        return self.detections is not None or bool(self.semantic) or self.instances is not None

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the image, if a mask tells them: others may be coarser."""
        masks: list[NDArray[Any]] = [mask.class_ids for mask in (self.semantic or {}).values()]
        masks += [self.instances.indices] if self.instances else []
        return max(((mask.shape[1], mask.shape[0]) for mask in masks), default=None)


@dataclass(frozen=True, slots=True, eq=False)
class PlacedSweep:
    """A sweep, how each camera looks at it, and where it is itself.

    problems: camera -> why it has no part in it; is_compensated: whether the vehicle's motion is
    taken out. frame_id, output_from_lidar: the frame of objects; is_in_output_frame: whether that
    is the one that was asked for, not the LiDAR's. fixed_frame_id, fixed_from_output: one in which
    the world stands still, the same as the output's where nobody knows another; behind_ns: for how
    long before the newest of sweep and images nothing is known of it. floor: where the vehicle
    stands, as `ground.floor_of`.
    """

    fusion_set: FusionSet
    problems: Mapping[str, str]
    is_compensated: bool
    is_in_output_frame: bool
    frame_id: str
    output_from_lidar: Matrix
    fixed_frame_id: str
    fixed_from_output: Matrix
    behind_ns: int
    floor: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FusedSweep:
    """What came of one sweep.

    objects: in the frame of the output; ids: of each, what its detections are called; paint: None
    where nobody wanted it, or where unpainted says why there is none; is_ground: bool [N].
    """

    placed: PlacedSweep
    objects: Objects
    ids: tuple[tuple[str, ...], ...]
    paint: Paint | None
    is_ground: NDArray[np.bool_]
    unpainted: str = ''


class SweepPipeline:
    """Sweeps and what cameras say in, painted points and objects out.

    :raises CalibrationError: the calibration file cannot be used.
    """

    def __init__(self, config: FusionConfig) -> None:
        self.config = config
        self.tree = TransformTree()
        path = config.calibration_file
        self.calibration = calibrations.load(Path(path)) if path else Calibration()
        self._class_names: tuple[str, ...] = ()
        self._floor: NDArray[np.float64] | None = None
        """Where the last sweep that saw the ground saw it."""
        self._infos: dict[str, Any] = {}
        self._lenses: dict[tuple[str, tuple[int, int] | None], CameraModel] = {}
        self.calibration_problems = self._use_calibration()

    # ---------------------------------------------------------------- what is known of the vehicle

    def transform(
        self, parent: str, child: str, stamp_ns: int, matrix: Matrix, *, is_static: bool
    ) -> None:
        """Take in where a frame is.

        :raises TransformError: it contradicts what is known.
        """
        self.tree.add(parent, child, stamp_ns, matrix, is_static)
        if is_static:
            self.calibration_problems = self._use_calibration()

    def camera_info(self, camera: str, info: Any) -> None:
        """Take in what lens a camera has; it is looked at when it is needed."""
        if self._infos.get(camera) != info:
            self._infos[camera] = info
            self._lenses = {key: lens for key, lens in self._lenses.items() if key[0] != camera}

    def has_lens(self, camera: str, size: tuple[int, int]) -> bool:
        """Say whether a camera's lens is known to be for images of this width and height."""
        info = self._infos.get(camera)
        return info is not None and (info.width, info.height) == size

    # ------------------------------------------------------------------------ the way of a sweep

    def place(
        self, matched: MatchedSweep, outputs: Mapping[str, ImageOutputs]
    ) -> PlacedSweep:
        """Say how each camera looks at a sweep.

        :param outputs: by camera, of the images that were matched; a camera that is not among
            them, or says nothing that can be used, counts as missing.
        """
        views: list[View] = []
        problems, is_compensated = {}, True
        for camera, image in matched.images.items():
            if camera not in outputs:
                continue
            said = outputs[camera]
            if said.problems:
                problems[camera] = '; '.join(said.problems)
            if not said.says_anything:
                continue
            try:
                lens = self._lens(camera, said.size)
                frame = self._frame(camera, said)
                camera_from_lidar, moved = self._camera_from_lidar(matched, frame, image)
            except FusionError as error:
                problems[camera] = str(error)
                continue
            is_compensated &= moved
            views.append(View(
                camera, image.stamp_ns, lens, camera_from_lidar, said.detections, said.ids,
                said.semantic or {}, said.instances,
            ))
        problems |= {
            camera: f'its nearest image is {apart_ns / 1e9:+.1f} s from the sweep: synchronise '
            'the clocks of both sensors, as by PTP, or let their drivers stamp with one clock'
            for camera, apart_ns in matched.apart_ns.items() if abs(apart_ns) > APART_NS
        }
        here = {view.camera for view in views}
        missing = tuple(camera for camera in self.config.cameras if camera not in here)
        frame_id, output_from_lidar = self._output(matched.sweep)
        return PlacedSweep(
            FusionSet(matched.sweep, tuple(views), missing), problems, is_compensated,
            frame_id == self.config.output_frame, frame_id, output_from_lidar,
            *self._fixed(frame_id, matched.sweep.stamp_ns),
            self._behind_ns(matched.sweep, views),
            floor_of(self._base_from(matched.sweep.frame_id)),
        )

    def fuse(self, placed: PlacedSweep, *, painted: bool = True) -> FusedSweep:
        """Find the objects of a sweep, and paint its points if that is wanted.

        In one thread, any.
        """
        fusion_set = placed.fusion_set
        with np.errstate(invalid='ignore'):  # beams that met nothing are no number
            terrain = Terrain.of(
                fusion_set.sweep.points, placed.output_from_lidar,
                placed.floor if self._floor is None else self._floor,
            )
            if terrain.is_seen:
                self._floor = terrain.floor
            seen = see_all(fusion_set)
            objects = find_objects(
                fusion_set, seen, terrain, self.config.objects, frame_id=placed.frame_id
            )
            # a beam that met nothing has no height, and is no obstacle either
            is_ground = ~(terrain.heights >= self.config.objects.ground_clearance_m)
            painting, unpainted = None, ''
            if painted:
                try:
                    painting = paint(fusion_set, seen, objects, terrain, self._class_names)
                    self._class_names = painting.class_names
                except FusionError as error:  # of too many classes; the objects are good
                    unpainted = str(error)
        ids = _ids(fusion_set, objects)
        return FusedSweep(placed, objects, ids, painting, is_ground, unpainted)

    # --------------------------------------------------------------------------- where things are

    def _use_calibration(self) -> list[str]:
        """Fill in what the calibration file knows and nobody has said; return what is wrong."""
        return [
            *calibrations.unused(self.calibration, self.config.cameras),
            *calibrations.fill(self.calibration, self.tree),
            *(
                f'{item} (perception_ros calibration-check shows which)'
                for item in calibrations.disagreements(self.calibration, self.tree)
            ),
        ]

    def _lens(self, camera: str, size: tuple[int, int] | None) -> CameraModel:
        """Return a camera's lens: the calibration file's, else its CameraInfo's."""
        key = camera, size
        if key not in self._lenses:
            known = self.calibration.cameras.get(camera)
            if known and known.intrinsics:
                lens = known.intrinsics.lens()
                self._lenses[key] = lens.for_image(*size) if size else lens
            elif camera in self._infos:
                image = self.config.cameras[camera].image
                self._lenses[key] = camera_model(self._infos[camera], image, size)
            else:
                raise FusionError(
                    f'no CameraInfo has come on {self.config.cameras[camera].info_topic(camera)}: '
                    f'let the driver publish it, name its topic in cameras.{camera}.camera_info, '
                    'or give the lens in calibration_file'
                )
        return self._lenses[key]

    def _frame(self, camera: str, said: ImageOutputs) -> str:
        frame = self.config.cameras[camera].frame
        frame = frame or self.calibration.frame_of(camera, said.frame_id)
        if not frame:
            raise FusionError(
                f'the results of {camera!r} name no frame: let the driver fill in '
                f'header.frame_id, or name the optical frame in cameras.{camera}.frame'
            )
        return frame

    def _camera_from_lidar(
        self, matched: MatchedSweep, frame: str, image: MatchedImage
    ) -> tuple[Matrix, bool]:
        """Return where a sweep is for a camera, and whether the vehicle's motion is out of it.

        :raises TransformError: nobody knows how the LiDAR and the camera lie to each other.
        """
        sweep, fixed = matched.sweep, self.config.fixed_frame
        if fixed:
            try:
                return self.tree.lookup_between(
                    frame, image.stamp_ns, sweep.frame_id, sweep.stamp_ns, fixed, CARRIED_ON_NS
                ), True
            except TransformError:
                pass  # nobody knows the motion: as if there were none
        try:
            return self.tree.lookup(frame, sweep.frame_id, sweep.stamp_ns), not fixed
        except ExtrapolationError:  # mounted on what nobody speaks of now: where it was last
            return self.tree.lookup(frame, sweep.frame_id), not fixed

    def _output(self, sweep: Sweep) -> tuple[str, Matrix]:
        """Return the frame of objects, and where the sweep is in it."""
        output = self.config.output_frame
        try:
            return output, self.tree.lookup(
                output, sweep.frame_id, sweep.stamp_ns, CARRIED_ON_NS
            )
        except TransformError:
            return sweep.frame_id, np.eye(4)

    def _base_from(self, lidar: str) -> Matrix:
        """Return where the LiDAR is in the vehicle's frame; where none is known: in its own."""
        try:
            return self.tree.lookup(self.tree.base(lidar), lidar)
        except TransformError:
            return np.eye(4)

    def _behind_ns(self, sweep: Sweep, views: Sequence[View]) -> int:
        """Return for how long what is known of the vehicle's motion does not reach."""
        try:
            newest_ns = self.tree.newest_ns(self.config.fixed_frame, sweep.frame_id)
        except TransformError:
            return 0  # nothing is known of it, which is told already
        stamps_ns = [sweep.stamp_ns, *(view.stamp_ns for view in views)]
        return 0 if newest_ns is None else max(0, max(stamps_ns) - newest_ns)

    def _fixed(self, frame_id: str, stamp_ns: int) -> tuple[str, Matrix]:
        """Return the frame in which the world stands still, and where the objects' frame is."""
        fixed = self.config.fixed_frame
        try:
            return fixed, self.tree.lookup(fixed, frame_id, stamp_ns, CARRIED_ON_NS)
        except TransformError:
            return frame_id, np.eye(4)


def _ids(fusion_set: FusionSet, objects: Objects) -> tuple[tuple[str, ...], ...]:
    """Return what the detections are called that each object is made of."""
    ids = {view.camera: view.ids for view in fusion_set.views}
    return tuple(
        tuple(ids[camera][index] for camera, index in sources if ids[camera])
        for sources in objects.sources
    )
