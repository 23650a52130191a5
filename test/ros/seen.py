"""Objects and tracks in space for tests, each in one line."""

from __future__ import annotations

from typing import Any

import numpy as np

from perception_ros.fusion.types import Objects, Tracks

NAMES = ('car', 'person', 'truck')
STAMP_NS = 1_700_000_000_123_456_789


def objects(**changes: Any) -> Objects:
    """Return a car that is measured well and a person whose range comes from a camera alone."""
    values: dict[str, Any] = {
        'stamp_ns': STAMP_NS,
        'frame_id': 'lidar_top',
        'centres': np.array([[12.0, -3.0, 0.5], [30.0, 5.0, 0.8]]),
        'sizes': np.array([[4.2, 1.8, 1.5], [0.6, 0.7, 1.8]]),
        'yaws': np.array([np.pi / 2, np.pi / 6]),
        'oriented': np.array([True, False]),
        'surfaces': np.array([[10.0, -3.0, 0.5], [np.nan] * 3]),
        'covariances': np.array([np.diag([0.04, 0.09, 0.01]), np.diag([9.0, 1.0, 0.5])]),
        'points': np.array([120, 0], np.int32),
        'scores': np.array([0.9, 0.5], np.float32),
        'labels': np.array([0, 1], np.int32),
        'by_camera': np.array([False, True]),
        'sources': ((('front', 0),), (('front', 1), ('left', 0))),
        'members': (np.arange(120), np.arange(0)),
        'class_names': NAMES,
    }
    return Objects(**values | changes)


def tracks(**changes: Any) -> Tracks:
    """Return the objects as tracks: the car drives along y, the person was not seen this time."""
    seen = objects()
    values = {
        name: getattr(seen, name) for name in Tracks.__slots__ if hasattr(seen, name)
    }
    values |= {
        'ids': np.array([7, 2**32 + 5], np.int64),
        'velocities': np.array([[0.0, 8.0, 0.0], [-1.0, 0.5, 0.0]]),
        'velocity_covariances': np.array([np.diag([0.25, 0.04, 0]), np.diag([1.0, 4.0, 0])]),
        'has_front': np.array([True, False]),
        'ages': np.array([2.5, 0.1]),
        'objects': np.array([0, -1], np.int64),
    }
    return Tracks(**values | changes)


def no_objects() -> Objects:
    """Return objects of an empty road."""
    return Objects(**_emptied(objects()))


def no_tracks() -> Tracks:
    """Return tracks of an empty road."""
    return Tracks(**_emptied(tracks()))


def _emptied(of: Objects | Tracks) -> dict[str, Any]:
    values = {name: getattr(of, name) for name in of.__slots__}
    count = len(of)
    return {
        name: value[:0] if name != 'class_names' and hasattr(value, '__len__')
        and not isinstance(value, str) and len(value) == count else value
        for name, value in values.items()
    }
