"""Bags of ROS 1 and ROS 2, read and written without a ROS installation.

`bag.open_bag` opens one for reading, `writer.BagWriter` writes one, `frames` has their images as
core frames. All of that needs the library `rosbags`, which is an extra: what may meet a bag, but
need not, imports from here, and the rest when there is one.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from perception_ros.bags.paths import is_bag, SUFFIXES
from perception_ros.core.errors import BagError
from perception_ros.core.sources import DEFAULT_CAMERAS, open_source, Source

__all__ = ['SUFFIXES', 'is_bag', 'need_library', 'open_input']


def need_library() -> None:
    """Raise BagError where bags can be neither read nor written."""
    # a package without an __init__ of its own, so that its name alone says nothing
    if find_spec('rosbags') is None or find_spec('rosbags.rosbag2') is None:
        raise BagError(
            'bags can be neither read nor written here: the library rosbags is not installed; '
            'pip install rosbags, or the extra perception_ros[bags]'
        )


def open_input(path: Path, cameras: Iterable[str] = DEFAULT_CAMERAS) -> Source:
    """Return the cameras at a path: of a bag, or of what `core.sources.open_source` knows.

    :param cameras: names for what has none of its own.
    :raises ImageError: nothing is there, or nothing that can be played.
    :raises BagError: it is a bag without images.
    """
    if not is_bag(path):
        return open_source(path, cameras)
    need_library()
    from perception_ros.bags.source import BagSource

    return BagSource(path)
