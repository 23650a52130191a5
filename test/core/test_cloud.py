"""Clouds of every layout that a driver may choose, read beside Python's own `struct`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
import struct
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
from numpy.typing import NDArray
import pytest

from perception_ros.core.cloud import Cloud, PointField
from perception_ros.core.errors import FusionError, PointCloudError

CODES = 'bBhHiIfd'
"""Those of `struct`, in the order of PointField's numbers, which start at 1."""
FLOAT32, FLOAT64, UINT8, UINT16 = 7, 8, 2, 4
XYZ = tuple(PointField(axis, 4 * index, FLOAT32) for index, axis in enumerate('xyz'))


def cloud(points: Sequence[Sequence[float]], **changes: Any) -> Cloud:
    """Return a cloud of x, y, z as most drivers send them."""
    data = np.array(points, '<f4').reshape(-1, 3)
    made = Cloud(XYZ, 1, len(data), 12, 12 * len(data), data.reshape(-1).view(np.uint8))
    return replace(made, **changes)


@dataclass(frozen=True)
class Layout:
    """A cloud, and what it is made of."""

    cloud: Cloud

    def values(self, name: str) -> list[float]:
        """Return the first value of a field of each point, byte by byte."""
        field = next(item for item in self.cloud.fields if item.name == name)
        code = ('>' if self.cloud.is_bigendian else '<') + CODES[field.datatype - 1]
        octets, made = self.cloud.data.tobytes(), self.cloud
        return [
            struct.unpack_from(code, octets, row * made.row_step + column * made.point_step
                               + field.offset)[0]
            for row in range(made.height) for column in range(made.width)
        ]


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    """Draw fields in any order, of any type, with gaps, in rows with gaps, of any bytes at all."""
    precision = draw(st.sampled_from([FLOAT32, FLOAT64]))
    others = draw(st.lists(st.sampled_from(['intensity', 'ring', 't', 'label']), unique=True))
    names = draw(st.permutations(['x', 'y', 'z', *others]))
    fields, end = [], draw(st.integers(0, 3))
    for name in names:
        kind = precision if name in 'xyz' else draw(st.integers(1, 8))
        count = draw(st.integers(0, 1)) if name in 'xyz' else draw(st.integers(0, 3))
        field = PointField(name, end, kind, count)
        fields.append(field)
        end = field.end + draw(st.integers(0, 5))
    height, width = draw(st.integers(0, 3)), draw(st.integers(0, 5))
    row_step = width * end + (draw(st.integers(0, 7)) if height > 1 else 0)
    size = height * row_step + draw(st.integers(0, 9))
    seed = draw(st.integers(0, 2**32 - 1))
    data = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    return Layout(Cloud(
        tuple(fields), height, width, end, row_step, data, draw(st.booleans()), draw(st.booleans())
    ))


def as_float32(values: Sequence[float]) -> NDArray[np.float32]:
    with np.errstate(all='ignore'):
        return np.array(values, np.float64).astype(np.float32)


@given(layouts())
@settings(max_examples=300)
def test_points_are_read_from_any_layout(layout: Layout) -> None:
    """Whatever the bytes are, NaN, infinite and huge numbers among them."""
    points = layout.cloud.xyz()
    assert points.dtype == np.float32 and points.shape == (len(layout.cloud), 3)
    for column, axis in enumerate('xyz'):
        np.testing.assert_array_equal(points[:, column], as_float32(layout.values(axis)))


@given(layouts(), st.data())
@settings(max_examples=300)
def test_added_fields_are_there_and_the_rest_keeps_its_bytes(
    layout: Layout, data: st.DataObject
) -> None:
    count = len(layout.cloud)
    columns = {
        'label': data.draw(st.lists(st.integers(0, 255), min_size=count, max_size=count)),
        'object': data.draw(st.lists(st.integers(0, 65535), min_size=count, max_size=count)),
        'score': data.draw(
            st.lists(st.floats(0, 1, width=32), min_size=count, max_size=count)
        ),
    }
    more = layout.cloud.with_fields({
        name: np.array(values, kind) for (name, values), kind in
        zip(columns.items(), (np.uint8, np.uint16, np.float32), strict=True)
    })
    more.check()
    wider = Layout(more)
    for name, values in columns.items():
        assert wider.values(name) == values
    step = layout.cloud.point_step
    before = layout.cloud.data.tobytes()
    after = more.data.reshape(count, more.point_step)
    for index in range(count):
        row, column = divmod(index, layout.cloud.width)
        begin = row * layout.cloud.row_step + column * step
        assert after[index, :step].tobytes() == before[begin : begin + step]
    kept = [field for field in more.fields if field.name not in columns]
    assert [replace(field, name='') for field in kept] == [
        replace(field, name='') for field in layout.cloud.fields
    ]
    assert more.height == layout.cloud.height and more.is_dense == layout.cloud.is_dense


@given(layouts())
def test_records_have_the_same_values(layout: Layout) -> None:
    records = layout.cloud.records()
    for field in layout.cloud.fields:
        values = records[field.name]
        values = values[:, 0] if field.count > 1 else values
        np.testing.assert_array_equal(values, np.array(layout.values(field.name), values.dtype))


@given(layouts(), st.data())
def test_chosen_points_are_whole(layout: Layout, data: st.DataObject) -> None:
    count = len(layout.cloud)
    chosen = np.array(
        data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_
    )
    some = layout.cloud.only(chosen)
    some.check()
    assert some.records().tobytes() == layout.cloud.records()[chosen].tobytes()


@given(layouts(), st.integers(1, 400))
def test_what_is_cut_off_is_refused(layout: Layout, missing: int) -> None:
    """Nothing is read beyond the end of a message."""
    needed = layout.cloud._needed()
    short = replace(layout.cloud, data=layout.cloud.data[: max(needed - missing, 0)])
    if len(layout.cloud):
        with pytest.raises(PointCloudError, match=f'takes {needed} bytes'):
            short.xyz()
    else:
        assert short.xyz().shape == (0, 3)


def test_fields_of_a_cloud_that_is_painted_twice_are_all_there() -> None:
    once = cloud([[1, 2, 3]]).with_fields({'label': np.array([7], np.uint8)})
    again = once.with_fields({'label': np.array([8], np.uint8)})
    third = again.with_fields({'label': np.array([9], np.uint8)})
    assert [field.name for field in third.fields] == ['x', 'y', 'z', '_label', '__label', 'label']
    records = third.records()
    assert [records[name][0] for name in ('_label', '__label', 'label')] == [7, 8, 9]
    assert third.xyz().tolist() == [[1, 2, 3]]


def test_new_fields_lie_at_multiples_of_their_size() -> None:
    """C++ reads them through pointers; some processors refuse others."""
    three = PointField('x', 0, FLOAT32), PointField('y', 4, FLOAT32), PointField('z', 8, FLOAT32)
    odd = Cloud((*three, PointField('ring', 12, UINT8)), 1, 0, 13, 0, np.zeros(0, np.uint8))
    made = odd.with_fields({
        'camera': np.zeros(0, np.uint8), 'score': np.zeros(0, np.float32),
        'object': np.zeros(0, np.uint16),
    })
    assert [(field.name, field.offset) for field in made.fields[4:]] == [
        ('camera', 13), ('score', 16), ('object', 20)]
    assert made.point_step == 24


@pytest.mark.parametrize(('made', 'said'), [
    pytest.param(
        replace(cloud([[1, 2, 3]]), fields=(PointField('range', 0, FLOAT32), XYZ[1])),
        'expected fields x, y and z, got range, y; let the driver', id='polar',
    ),
    pytest.param(replace(cloud([[1, 2, 3]]), fields=()), 'got none', id='no-fields'),
    pytest.param(
        replace(cloud([[1, 2, 3]]), fields=(PointField('x', 0, UINT16), *XYZ[1:])),
        'expected x to be one float32 or float64', id='integers',
    ),
    pytest.param(
        replace(cloud([[1, 2, 3]]), fields=(PointField('x', 0, FLOAT32, 3), *XYZ[1:])),
        'a count of 3', id='vector',
    ),
    pytest.param(
        replace(cloud([[1, 2, 3]]), fields=(*XYZ, PointField('t', 0, 9))),
        "field 't' has datatype 9: expected 1 to 8", id='unknown-type',
    ),
    pytest.param(
        cloud([[1, 2, 3]], point_step=10), "field 'z' lies in bytes 8 to 12", id='small-step',
    ),
    pytest.param(cloud([[1, 2, 3]], point_step=0), 'at least one byte', id='no-step'),
    pytest.param(cloud([[1, 2, 3]], width=-1), 'no negative number', id='negative'),
    pytest.param(
        cloud([[1, 2, 3]] * 4, height=2, width=2, row_step=20), 'a row has 24 bytes', id='rows',
    ),
    pytest.param(
        cloud([[1, 2, 3]], width=4_000_000_000, height=4_000_000_000, row_step=2**40),
        'got 12; the message is damaged', id='absurd',
    ),
])
def test_what_contradicts_itself_is_refused_with_a_reason(made: Cloud, said: str) -> None:
    with pytest.raises(FusionError, match=said):
        made.xyz()


def test_names_that_two_fields_share_make_no_records() -> None:
    twice = replace(cloud([[1, 2, 3]]), fields=(*XYZ, PointField('x', 8, FLOAT32)))
    with pytest.raises(PointCloudError, match='different names, got x, y, z, x'):
        twice.records()
    assert twice.xyz().shape == (1, 3)


def test_a_single_row_may_say_any_step() -> None:
    """Some drivers leave it at 0; there is no second row for which it would matter."""
    assert cloud([[1, 2, 3], [4, 5, 6]], row_step=0).xyz().tolist() == [[1, 2, 3], [4, 5, 6]]


def test_points_are_read_in_place() -> None:
    """A bag's message is read-only, and stays as it is."""
    made = cloud([[1, 2, 3]])
    locked = made.data.copy()
    locked.flags.writeable = False
    made = replace(made, data=locked)
    made.xyz()[:] = 0
    assert made.xyz().tolist() == [[1, 2, 3]]
    assert np.shares_memory(made.records(), locked)


def test_a_column_of_another_length_is_no_field() -> None:
    with pytest.raises(ValueError, match='reshape'):
        cloud([[1, 2, 3]]).with_fields({'label': np.zeros(2, np.uint8)})


def test_zeros_of_a_beam_that_met_nothing_are_no_numbers() -> None:
    """Drivers of organised clouds write them; taken as points they stand where the LiDAR is."""
    points = cloud([[1, 2, 3], [0, 0, 0], [0, 0, -1]]).returns()
    assert np.isnan(points[1]).all()
    assert points[[0, 2]].tolist() == [[1, 2, 3], [0, 0, -1]]
