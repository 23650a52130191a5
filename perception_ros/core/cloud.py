"""A sensor_msgs/PointCloud2 as plain values: its points read in place, and fields added to it.

The names and numbers are those of the message (`PointField.FLOAT32` is 7).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import PointCloudError

TYPES = ('i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'f4', 'f8')
"""NumPy's name of each `datatype`, from 1 on."""
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PointField:
    """One field of each point; `datatype` is an index into `TYPES`, + 1.

    Some drivers say a `count` of 0 where they mean 1.
    """

    name: str
    offset: int
    datatype: int
    count: int = 1

    def kind(self, order: str) -> np.dtype[np.generic]:
        """Return the type of its values, in a byte order: '<' or '>'.

        :raises PointCloudError: its type is none of the eight.
        """
        if not 1 <= self.datatype <= len(TYPES):
            raise PointCloudError(
                f'field {self.name!r} has datatype {self.datatype}: expected 1 to {len(TYPES)}'
            )
        return np.dtype(order + TYPES[self.datatype - 1])

    @property
    def end(self) -> int:
        """Byte of a point at which it ends.

        :raises PointCloudError: its type is none of the eight.
        """
        return self.offset + self.kind('<').itemsize * max(self.count, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """A point cloud, `height` rows of `width` points; the data is borrowed.

    data: uint8 [height * row_step] at least, contiguous; a point takes `point_step` bytes, a row
    `row_step`. What a cloud of one row says about its step does not matter.
    """

    fields: tuple[PointField, ...]
    height: int
    width: int
    point_step: int
    row_step: int
    data: NDArray[np.uint8]
    is_bigendian: bool = False
    is_dense: bool = False

    def __len__(self) -> int:
        """Return the number of points."""
        return self.height * self.width

    def xyz(self) -> NDArray[np.float32]:
        """Return where the points are, float32 [N, 3], row after row.

        What is not finite is left so, and what is too large for a float32 is infinite.

        :raises PointCloudError: the cloud has no x, y or z, or contradicts itself.
        """
        self.check()
        columns = [self._column(self._coordinate(axis)) for axis in 'xyz']
        points = np.empty((self.height, self.width, 3), np.float32)
        with np.errstate(over='ignore', invalid='ignore'):
            for index, column in enumerate(columns):
                points[..., index] = column
        return points.reshape(-1, 3)

    def returns(self) -> NDArray[np.float32]:
        """Return `xyz`, and no numbers where a beam met nothing.

        Drivers of organised clouds write zeros for these, which is inside the LiDAR.

        :raises PointCloudError: as `xyz` does.
        """
        points = self.xyz()
        x, y, z = points.T
        points[(x == 0) & (y == 0) & (z == 0)] = np.nan  # `any` over rows of three is far slower
        return points

    def check(self) -> None:
        """Compare the description with the data.

        :raises PointCloudError: they contradict each other.
        """
        if min(self.height, self.width, self.row_step) < 0 or self.point_step < 1:
            raise PointCloudError(
                f'a cloud of {self._described()}: expected a step of at least one byte, and no '
                'negative number'
            )
        for field in self.fields:
            if field.offset < 0 or field.end > self.point_step:
                raise PointCloudError(
                    f'field {field.name!r} lies in bytes {field.offset} to {field.end} of a '
                    f'point, which has {self.point_step}; the driver describes it wrongly'
                )
        if self.height > 1 and self.row_step < self.width * self.point_step:
            raise PointCloudError(
                f'a cloud of {self._described()}: a row has {self.width * self.point_step} bytes '
                'of points; the driver describes it wrongly'
            )
        needed = self._needed()
        if needed > self.data.size:
            raise PointCloudError(
                f'a cloud of {self._described()} takes {needed} bytes, got {self.data.size}; the '
                'message is damaged, or its driver describes it wrongly'
            )
        if needed > _MOST_BYTES:
            raise PointCloudError(
                f'a cloud of {self._described()} takes {needed} bytes: expected up to '
                f'{_MOST_BYTES}; publish one turn of the LiDAR in each message'
            )

    def records(self) -> NDArray[np.void]:
        """Return the points as a structured array [N]; a view where rows are not padded.

        :raises PointCloudError: the cloud contradicts itself, or fields share a name.
        """
        self.check()
        names = [field.name for field in self.fields]
        if len(set(names)) < len(names):
            raise PointCloudError(f'expected fields of different names, got {", ".join(names)}')
        kind = np.dtype({
            'names': names,
            'formats': [
                (field.kind(self._order), (field.count,) * (field.count > 1))
                for field in self.fields
            ],
            'offsets': [field.offset for field in self.fields],
            'itemsize': self.point_step,
        })
        return self._laid_out(kind).reshape(-1)

    def with_fields(self, columns: Mapping[str, NDArray[np.generic]]) -> Cloud:
        """Return the same points with a field more for each column [N], of one of the `TYPES`.

        What was there keeps its bytes and its place; the new fields follow it, each at a multiple
        of its size. A field of the same name is hidden: it stays, under the name with an
        underscore in front. Rows are packed. The bytes are in the order of the cloud.

        :raises PointCloudError: the cloud contradicts itself.
        """
        self.check()
        end = self.point_step
        added = []
        for name, column in columns.items():
            size = column.dtype.itemsize
            offset = -(-end // size) * size
            added.append(PointField(name, offset, TYPES.index(column.dtype.str[1:]) + 1))
            end = offset + size
        step = -(-end // 4) * 4
        wider = replace(
            self, fields=(*_renamed(self.fields, columns), *added), point_step=step,
            row_step=step * self.width, data=np.zeros(len(self) * step, np.uint8),
        )
        octets = np.dtype((np.void, self.point_step))
        wider._laid_out(octets)[...] = self._laid_out(octets)
        for field, column in zip(added, columns.values(), strict=True):
            wider._column(field)[...] = column.reshape(self.height, self.width)
        return wider

    def only(self, chosen: NDArray[np.bool_]) -> Cloud:
        """Return the points [N] that are chosen, in one row.

        :raises PointCloudError: the cloud contradicts itself.
        """
        self.check()
        points = self._laid_out(np.dtype((np.void, self.point_step))).reshape(-1)[chosen]
        data = np.frombuffer(points.tobytes(), np.uint8)
        return replace(self, height=1, width=len(points), row_step=data.size, data=data)

    @property
    def _order(self) -> str:
        return '>' if self.is_bigendian else '<'

    def _coordinate(self, axis: str) -> PointField:
        named = {field.name: field for field in self.fields}
        if axis not in named:
            raise PointCloudError(
                f'expected fields x, y and z, got {", ".join(named) or "none"}; let the driver '
                'publish cartesian points'
            )
        field = named[axis]
        if field.kind('=').kind != 'f' or field.count > 1:
            raise PointCloudError(
                f'expected {axis} to be one float32 or float64 (datatype 7 or 8), in metres; got '
                f'datatype {field.datatype} and a count of {field.count}'
            )
        return field

    def _column(self, field: PointField) -> NDArray[np.generic]:
        """Return the first value of a field, [height, width], in place."""
        return self._laid_out(field.kind(self._order), field.offset)

    def _laid_out(self, kind: np.dtype[Any], offset: int = 0) -> NDArray[Any]:
        """Return what lies at an offset of each point, [height, width], in place."""
        if not len(self):
            return np.zeros((self.height, self.width), kind)
        strides = (self.row_step if self.height > 1 else 0, self.point_step)
        return np.ndarray((self.height, self.width), kind, self.data.data, offset, strides)

    def _needed(self) -> int:
        if not (self.height and self.width):  # their product may be more than `len` can say
            return 0
        return (self.height - 1) * self.row_step + self.width * self.point_step

    def _described(self) -> str:
        return (
            f'{self.width}x{self.height} points with a step of {self.point_step} bytes, rows of '
            f'{self.row_step}'
        )


def _renamed(fields: Sequence[PointField], new: Collection[str]) -> Iterator[PointField]:
    """Yield the fields, those whose name is new under one that nobody has."""
    taken = {*new, *(field.name for field in fields)}
    for field in fields:
        name = field.name
        while name in taken and field.name in new:
            name = f'_{name}'
        taken.add(name)
        yield replace(field, name=name)
