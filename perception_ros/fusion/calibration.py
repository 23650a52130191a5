"""A calibration file: where cameras and LiDAR are mounted, and through what lenses they look.

For vehicles on which nobody publishes that, and to check those on which somebody does.
"""

from __future__ import annotations

from collections.abc import Collection
from math import degrees, hypot, pi
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from perception_ros.core.errors import CalibrationError, TransformError
from perception_ros.core.poses import difference, Matrix, pose, quaternion_from_roll_pitch_yaw
from perception_ros.core.strict import read_strict, Strict
from perception_ros.fusion.camera import CameraModel
from perception_ros.fusion.distortion import DistortionModel
from perception_ros.fusion.transforms import TransformTree

METRES = 0.05
DEGREES = 0.5
"""Tolerances: at 40 m half a degree is 0.35 m, which is how wide a pedestrian is."""

_Three = Annotated[tuple[float, float, float], Field(strict=False)]
_Four = Annotated[tuple[float, float, float, float], Field(strict=False)]
_Name = Annotated[str, Field(min_length=1, pattern='^[^/]')]


class _Part(Strict):
    model_config = ConfigDict(strict=True)


class Extrinsics(_Part):
    """Where a sensor's frame lies in its parent's."""

    parent: _Name
    translation_m: _Three
    quaternion: _Four | None = None
    """x, y, z, w."""
    roll_pitch_yaw_rad: _Three | None = None
    """About the parent's x, then y, then z, as in URDF and static_transform_publisher."""

    @model_validator(mode='after')
    def _turn_once(self) -> Self:
        given = [item for item in (self.quaternion, self.roll_pitch_yaw_rad) if item is not None]
        if len(given) != 1:
            raise ValueError(
                f'expected quaternion or roll_pitch_yaw_rad, got {"both" if given else "neither"}'
            )
        turns = self.roll_pitch_yaw_rad or ()
        if any(abs(turn) > 2 * pi for turn in turns):
            raise ValueError(
                f'roll_pitch_yaw_rad: expected up to a turn, {2 * pi:.3f}, got '
                f'{max(turns, key=abs):g}; is it in degrees?'
            )
        if self.quaternion and abs(hypot(*self.quaternion) - 1) > 1e-3:
            raise ValueError(
                f'quaternion: expected x, y, z, w of length 1, got {hypot(*self.quaternion):.4g}'
            )
        return self

    @property
    def matrix(self) -> Matrix:
        """`parent_from_sensor`, float64 [4, 4]."""
        return pose(self.translation_m, self.quaternion or quaternion_from_roll_pitch_yaw(
            *(self.roll_pitch_yaw_rad or (0, 0, 0))
        ))


class Intrinsics(_Part):
    """A lens, instead of the one that CameraInfo describes."""

    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    focal_px: Annotated[tuple[float, float], Field(strict=False)]
    """fx and fy."""
    centre_px: Annotated[tuple[float, float], Field(strict=False)]
    """cx and cy of K: (0, 0) is the middle of the top-left pixel."""
    distortion_model: DistortionModel = 'none'
    coefficients: Annotated[tuple[float, ...], Field(strict=False)] = ()
    """In CameraInfo's order."""

    @model_validator(mode='after')
    def _describe_a_lens(self) -> Self:
        try:
            self.lens()
        except CalibrationError as error:
            raise ValueError(str(error)) from error
        return self

    def lens(self) -> CameraModel:
        """Return it."""
        (fx, fy), (cx, cy) = self.focal_px, self.centre_px
        return CameraModel(
            self.width, self.height, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]),
            self.distortion_model, np.array(self.coefficients, np.float64),
        )


class Sensor(_Part):
    """A sensor's frame, and where it is if the file knows."""

    frame: _Name
    extrinsics: Extrinsics | None = None

    @model_validator(mode='after')
    def _hang_below_another(self) -> Self:
        if self.extrinsics and self.extrinsics.parent == self.frame:
            raise ValueError(f'extrinsics.parent: expected another frame than {self.frame!r}')
        return self


class Camera(Sensor):
    """A camera's optical frame (z forward, x right, y down), and its lens if the file knows."""

    intrinsics: Intrinsics | None = None


class Calibration(_Part):
    """What a file says about the LiDAR and the cameras, by name."""

    lidar: Sensor | None = None
    cameras: dict[_Name, Camera] = Field(default_factory=dict)

    @model_validator(mode='after')
    def _make_a_tree(self) -> Self:
        tree = TransformTree()
        frames = [each.frame for each in (*self.cameras.values(), self.lidar) if each]
        if twice := sorted({frame for frame in frames if frames.count(frame) > 1}):
            raise ValueError(f'expected a frame for each sensor, got {twice[0]!r} twice')
        try:
            for frame, extrinsics in self.placed.values():
                tree.add(extrinsics.parent, frame, 0, extrinsics.matrix, is_static=True)
        except TransformError as error:
            raise ValueError(str(error)) from error
        return self

    def frame_of(self, camera: str, named: str) -> str:
        """Return a camera's frame: the file's, else what its messages name."""
        known = self.cameras.get(camera)
        return known.frame if known else named

    @property
    def placed(self) -> dict[str, tuple[str, Extrinsics]]:
        """Sensors of which it says where they are: frame and extrinsics by name."""
        sensors: dict[str, Sensor] = {**self.cameras}
        if self.lidar:
            sensors = {'lidar': self.lidar, **sensors}
        return {
            name: (sensor.frame, sensor.extrinsics)
            for name, sensor in sensors.items() if sensor.extrinsics
        }


class Disagreement(NamedTuple):
    """Of a sensor: how far the file and the tree are apart about where it is."""

    name: str
    parent: str
    frame: str
    metres: float
    degrees: float

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f'{self.name}: the calibration file and tf are {self.metres:.3f} m and '
            f'{self.degrees:.2f} degrees apart about {self.parent!r} -> {self.frame!r}; correct '
            'one of them'
        )


def unused(calibration: Calibration, cameras: Collection[str]) -> list[str]:
    """Say which cameras of a file are none of these, if it lacks one of them: a slip, most likely.

    A file of the whole vehicle may well say more than a node with some of its cameras needs.
    """
    lacking = sorted(set(cameras) - set(calibration.cameras))
    if not lacking:
        return []
    return [
        f'calibration file: cameras.{name} is no camera here, and {", ".join(lacking)} '
        f'{"is" if len(lacking) == 1 else "are"} not in the file; give it the name of the camera'
        for name in sorted(set(calibration.cameras) - set(cameras))
    ]


def load(path: Path) -> Calibration:
    """Read a calibration file.

    :raises CalibrationError: it cannot be read, or says something wrong, with line and key.
    """
    return read_strict(path, Calibration, 'calibration', CalibrationError)


def fill(calibration: Calibration, tree: TransformTree) -> list[str]:
    """Add to a tree what the file knows and nobody publishes; say what it cannot add, and why.

    To be called again after something new was published: what is filled in gives way to that.
    """
    problems = []
    for name, (frame, extrinsics) in calibration.placed.items():
        try:
            tree.fill(extrinsics.parent, frame, extrinsics.matrix)
        except TransformError as error:
            problems.append(f'{name}: {error}')
    return problems


def disagreements(
    calibration: Calibration, tree: TransformTree, metres: float = METRES, angle: float = DEGREES
) -> list[Disagreement]:
    """Return the sensors about whose place file and tree differ by more than the tolerances.

    Sensors that the tree does not know, or does not connect to what the file names, are left out:
    there is nothing to compare until `fill` was called.

    :param metres: tolerance; `angle`: the same in degrees.
    """
    found = []
    for name, (frame, extrinsics) in calibration.placed.items():
        try:
            published = tree.lookup(extrinsics.parent, frame)
        except TransformError:
            continue
        apart, turned = difference(extrinsics.matrix, published)
        if apart > metres or degrees(turned) > angle:
            found.append(Disagreement(name, extrinsics.parent, frame, apart, degrees(turned)))
    return found
