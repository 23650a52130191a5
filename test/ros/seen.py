"""Objects and tracks in space for tests, each in one line."""

from __future__ import annotations

from typing import Any

import numpy as np

from perception_ros.fusion.types import Objects

NAMES = ('car', 'person', 'truck')
STAMP_NS = 1_700_000_000_123_456_789


def objects(**changes: Any) -> Objects:
    """Return a car that is measured well and a person whose range comes from a camera alone."""
    values: dict[str, Any] = {
        'stamp_ns': STAMP_NS,
        'frame_id': 'lidar_top',
        'centres': np.array([[12.0, -3.0, 0.5], [30.0, 5.0, 0.8]]),
        'sizes': np.array([[4.2, 1.8, 1.5], [0.6, 0.7, 1.8]]),
        'yaws': np.array([np.pi / 2, np.nan]),
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


def no_objects() -> Objects:
    """Return objects of an empty road."""
    none = objects()
    arrays = {
        name: getattr(none, name)[:0]
        for name in (
            'centres', 'sizes', 'yaws', 'surfaces', 'covariances', 'points', 'scores', 'labels',
            'by_camera', 'sources', 'members',
        )
    }
    return objects(**arrays)
