"""Bags of every kind, made by the library's own writers, with images that tell their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
import shutil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from rosbags.typesys import get_typestore, Stores

from perception_ros.bags import messages
from perception_ros.bags.bag import Bag
from perception_ros.bags.messages import IMAGE
from perception_ros.bags.types import standard
from perception_ros.core.image import Image
from perception_ros.ros.cdr import read_image

FRONT, REAR = '/front/image_raw', '/rear/image_raw'
START_NS = 1_000_000_000
STEP_NS = 100_000_000
COUNT = 24
SIZE = (60, 40)
_ROS1 = get_typestore(Stores.ROS1_NOETIC)

Item = tuple[str, Any, int]
"""Topic, message, time of recording."""


def noise(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    """Return RGB pixels that do not compress, the first of which is `seed`."""
    width, height = size
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    rgb[0, 0] = seed
    return rgb


def image(number: int, stamp_ns: int | None = None, size: tuple[int, int] = SIZE) -> Any:
    head = messages.header(time_of(number) if stamp_ns is None else stamp_ns, 'optical')
    return messages.raw_image(head, Image.from_array(noise(number, size)))


def time_of(number: int) -> int:
    return START_NS + number * STEP_NS


def two_cameras(count: int = COUNT, size: tuple[int, int] = SIZE) -> list[Item]:
    """Return images that come in turn from two cameras."""
    return [((FRONT, REAR)[i % 2], image(i, size=size), time_of(i)) for i in range(count)]


def write_bag2(
    path: Path,
    items: Sequence[Item],
    plugin: StoragePlugin = StoragePlugin.MCAP,
    compression: CompressionMode = CompressionMode.NONE,
) -> Path:
    """Write a bag of ROS 2 as a folder."""
    writer = Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        connections: dict[tuple[str, str], Any] = {}
        for topic, message, time_ns in items:
            kind = message.__msgtype__
            if (topic, kind) not in connections:
                connections[topic, kind] = writer.add_connection(
                    topic, kind, typestore=standard()
                )
            data = standard().serialize_cdr(message, kind)
            writer.write(connections[topic, kind], time_ns, data)
    return path


def write_split(path: Path, items: Sequence[Item], plugin: StoragePlugin) -> Path:
    """Write a bag whose files follow each other, as `ros2 bag record -b` does."""
    suffix = {StoragePlugin.MCAP: '.mcap', StoragePlugin.SQLITE3: '.db3'}[plugin]
    path.mkdir(parents=True)
    names = []
    for number, part in enumerate(np.array_split(np.arange(len(items)), 3), 9):
        made = write_bag2(path / f'part_{number}', [items[i] for i in part], plugin)
        names.append(f'{path.name}_{number}{suffix}')
        (made / f'part_{number}{suffix}').rename(path / names[-1])
        shutil.rmtree(made)
    listed = '\n'.join(f'    - {name}' for name in names)
    (path / 'metadata.yaml').write_text(
        f'rosbag2_bagfile_information:\n  relative_file_paths:\n{listed}\n'
    )
    return path


def write_bag1(
    path: Path, items: Sequence[Item], compression: Writer1.CompressionFormat | None = None
) -> Path:
    """Write images as a bag of ROS 1."""
    writer = Writer1(path)
    if compression:
        writer.set_compression(compression)
    with writer:
        connections: dict[str, Any] = {}
        for topic, message, time_ns in items:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, IMAGE, typestore=_ROS1)
            head = _ROS1.types['std_msgs/msg/Header'](
                seq=7, stamp=message.header.stamp, frame_id=message.header.frame_id
            )
            fields = {name: getattr(message, name) for name in (
                'height', 'width', 'encoding', 'is_bigendian', 'step', 'data'
            )}
            made = _ROS1.types[IMAGE](header=head, **fields)
            writer.write(connections[topic], time_ns, _ROS1.serialize_ros1(made, IMAGE))
    return path


def _one_file(write: Callable[..., Path], suffix: str, *arguments: Any) -> Callable[..., Path]:
    def make(folder: Path, items: Sequence[Item]) -> Path:
        made = write(folder / 'bag', items, *arguments)
        return next(path for path in made.iterdir() if path.name.endswith(suffix))

    return make


def _folder(write: Callable[..., Path], *arguments: Any) -> Callable[..., Path]:
    return lambda folder, items: write(folder / 'bag', items, *arguments)


MCAP, DB3 = StoragePlugin.MCAP, StoragePlugin.SQLITE3
MAKERS: dict[str, Callable[[Path, Sequence[Item]], Path]] = {
    'mcap': _one_file(write_bag2, '.mcap', MCAP),
    'mcap-zstd': _one_file(write_bag2, '.mcap', MCAP, CompressionMode.STORAGE),
    'mcap-each-message': _folder(write_bag2, MCAP, CompressionMode.MESSAGE),
    'mcap-file-zstd': _folder(write_bag2, MCAP, CompressionMode.FILE),
    'mcap-split': _folder(write_split, MCAP),
    'db3': _one_file(write_bag2, '.db3', DB3),
    'db3-each-message': _folder(write_bag2, DB3, CompressionMode.MESSAGE),
    'db3-file-zstd': _one_file(write_bag2, '.db3.zstd', DB3, CompressionMode.FILE),
    'db3-split': _folder(write_split, DB3),
    'ros1': lambda folder, items: write_bag1(folder / 'bag.bag', items),
    'ros1-bz2': lambda folder, items: write_bag1(
        folder / 'bag.bag', items, Writer1.CompressionFormat.BZ2
    ),
    'ros1-lz4': lambda folder, items: write_bag1(
        folder / 'bag.bag', items, Writer1.CompressionFormat.LZ4
    ),
}
"""How a bag may lie on a disk -> what makes one."""


def numbers(bag: Bag, *arguments: Any) -> list[int]:
    """Return the numbers of the images of a bag, each of which must be as it was made."""
    found = []
    for message in bag.messages(*arguments):
        pixels = read_image(message.data).image.rgb()
        number = int(pixels[0, 0, 0])
        size = (pixels.shape[1], pixels.shape[0])
        assert np.array_equal(pixels, noise(number, size)), f'image {number} has changed'
        assert message.time_ns == time_of(number)
        assert message.topic == (FRONT, REAR)[number % 2]
        found.append(number)
    return found
