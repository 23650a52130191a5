"""A sensor_msgs/PointCloud2 as plain values: its points read in place, and fields added to it.

The names and numbers are those of the message (`PointField.FLOAT32` is 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from perception_ros.core.errors import PointCloudError

TYPES = ('i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'f4', 'f8')
"""NumPy's name of each `datatype`, from 1 on."""
_MOST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class PointField:
    """One field of each point; `datatype` is an index into `TYPES`, + 1."""

    name: str
    offset: int
    datatype: int
    count: int = 1

    @property
    def size(self) -> int:
        """Bytes that it takes.

        :raises PointCloudError: its type is none of the eight.
        """
        if not 1 <= self.datatype <= len(TYPES):
            raise PointCloudError(
                f'field {self.name!r} has datatype {self.datatype}: expected 1 to {len(TYPES)}'
            )
        return np.dtype(TYPES[self.datatype - 1]).itemsize * max(self.count, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """A point cloud, `height` rows of `width` points; the data is borrowed.

    data: uint8 [height * row_step] at least; a point takes `point_step` bytes, a row `row_step`.
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
        """Return where the points are, float32 [N, 3]; what is not finite is left so.

        :raises PointCloudError: the cloud has no x, y or z, or contradicts itself.
        """
        self.check()
        named = {field.name: field for field in self.fields}
        if missing := [axis for axis in 'xyz' if axis not in named]:
            raise PointCloudError(
                f'expected fields x, y and z, got none named {", ".join(missing)} among '
                f'{", ".join(named) or "none"}; let the driver publish cartesian points'
            )
        points = np.empty((self.height, self.width, 3), np.float32)
        for column, axis in enumerate('xyz'):
            points[..., column] = self._column(named[axis])
        return points.reshape(-1, 3)

    def check(self) -> None:
        """Compare the description with the data.

        :raises PointCloudError: they contradict each other.
        """
        if min(self.height, self.width, self.row_step) < 0 or self.point_step < 1:
            raise PointCloudError(f'a cloud of {self._described()}: no number may be negative')
        ends = {field.name: field.offset + field.size for field in self.fields}
        for field in self.fields:
            if field.offset < 0 or ends[field.name] > self.point_step:
                raise PointCloudError(
                    f'field {field.name!r} lies in bytes {field.offset} to {ends[field.name]} of '
                    f'a point, which has {self.point_step}; the driver describes it wrongly'
                )
        if self.height > 1 and self.row_step < self.width * self.point_step:
            raise PointCloudError(
                f'a cloud of {self._described()}: a row has {self.width * self.point_step} bytes '
                'of points'
            )
        needed = self._needed()
        if needed > self.data.size or needed > _MOST_BYTES:
            raise PointCloudError(
                f'a cloud of {self._described()} takes {needed} bytes, got {self.data.size}; the '
                'message is damaged, or its driver describes it wrongly'
            )

    def with_fields(self, columns: Mapping[str, NDArray[np.generic]]) -> Cloud:
        """Return the same points with a field more for each column [N].

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
        data = np.zeros((len(self), step), np.uint8)
        data[:, : self.point_step] = self._rows().reshape(-1, self.point_step)
        for field, column in zip(added, columns.values(), strict=True):
            swapped = column.astype(column.dtype.newbyteorder('>' if self.is_bigendian else '<'))
            octets = np.ascontiguousarray(swapped).view(np.uint8).reshape(len(self), field.size)
            data[:, field.offset : field.offset + field.size] = octets
        kept = tuple(
            replace(field, name=f'_{field.name}') if field.name in columns else field
            for field in self.fields
        )
        return replace(
            self, fields=(*kept, *added), point_step=step, row_step=step * self.width,
            data=data.reshape(-1),
        )

    def only(self, chosen: NDArray[np.bool_]) -> Cloud:
        """Return the points [N] that are chosen, in one row."""
        rows = self._rows().reshape(-1, self.point_step)[chosen]
        return replace(
            self, height=1, width=len(rows), row_step=rows.size, data=rows.reshape(-1)
        )

    def _column(self, field: PointField) -> NDArray[np.generic]:
        order = '>' if self.is_bigendian else '<'
        kind = np.dtype(order + TYPES[field.datatype - 1])
        if not len(self):
            return np.zeros((self.height, self.width), kind)
        return np.ndarray(
            (self.height, self.width), kind, self.data.data, field.offset,
            (self.row_step if self.height > 1 else 0, self.point_step),
        )

    def _rows(self) -> NDArray[np.uint8]:
        """Return the points' bytes, uint8 [height, width * point_step]."""
        width = self.width * self.point_step
        if not len(self):
            return np.zeros((self.height, width), np.uint8)
        strides = (self.row_step if self.height > 1 else 0, 1)
        return np.ndarray((self.height, width), np.uint8, self.data.data, 0, strides)

    def _needed(self) -> int:
        if not len(self):
            return 0
        return (self.height - 1) * self.row_step + self.width * self.point_step

    def _described(self) -> str:
        return (
            f'{self.width}x{self.height} points with a step of {self.point_step} bytes, rows of '
            f'{self.row_step}'
        )
