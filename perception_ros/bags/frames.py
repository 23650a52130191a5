"""The cameras of a bag: which topics they are, and their images as core frames."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
import re

from perception_ros.bags.bag import Bag, Message
from perception_ros.bags.messages import COMPRESSED_IMAGE, IMAGE
from perception_ros.core.errors import BagError, ImageError
from perception_ros.core.types import Frame
from perception_ros.ros.cdr import read_compressed_image, read_image

IMAGE_TYPES = (IMAGE, COMPRESSED_IMAGE)
GROUND_TRUTH = 'ground_truth'
"""Part of the names of topics that say what is to be found."""

# Images that no camera has taken: what was found, what is true, and depths.
_NO_CAMERA = frozenset({GROUND_TRUTH, 'semantic', 'instances', 'overlay', 'compressedDepth'})
_PLAIN_NAMES = frozenset({
    'image', 'image_raw', 'image_color', 'image_mono', 'image_rect', 'image_rect_color',
})


def image_topics(bag: Bag) -> dict[str, str]:
    """Return image topic -> camera, for all images that a camera has taken."""
    return {
        name: camera_name(name) for name, topic in bag.topics.items()
        if set(topic.types) & set(IMAGE_TYPES) and not _NO_CAMERA & set(name.split('/'))
    }


def camera_topics(bag: Bag, topics: Collection[str] = ()) -> dict[str, str]:
    """Return camera -> image topic.

    :param topics: take these; by default all of images that a camera has taken. Where a camera has
        raw and compressed images, the raw ones are taken.
    :raises BagError: there is none.
    """
    images = [name for name, topic in bag.topics.items() if set(topic.types) & set(IMAGE_TYPES)]
    if unfit := [name for name in topics if name not in images]:
        raise BagError(
            f'{bag.path}: no images on {", ".join(_with_types(bag, name) for name in unfit)}; '
            f'expected some of {", ".join(images) or "none, for it has no images"}'
        )
    chosen = list(topics) or list(image_topics(bag))
    if not chosen:
        raise BagError(
            f'{bag.path}: expected images of a camera ({", ".join(IMAGE_TYPES)}), it has only '
            f'{", ".join(_with_types(bag, name) for name in bag.topics) or "no topic at all"}'
        )
    cameras: dict[str, str] = {}
    for topic in sorted(chosen):  # a raw one comes before the compressed one of its name
        cameras.setdefault(camera_name(topic), topic)
    return cameras


def camera_name(topic: str) -> str:
    """Return what a camera is called by its image topic: '/a/front/image_raw' is 'a_front'."""
    parts = [part for part in topic.split('/') if part]
    if len(parts) > 1 and parts[-1] == 'compressed':
        parts.pop()
    if len(parts) > 1 and parts[-1] in _PLAIN_NAMES:
        parts.pop()
    name = re.sub(r'\W', '_', '_'.join(parts), flags=re.ASCII)
    return name if name[:1].isalpha() else f'camera_{name}'


def frames(
    bag: Bag,
    cameras: Mapping[str, str],
    start_ns: int | None = None,
    end_ns: int | None = None,
) -> Iterator[Frame]:
    """Yield the images of cameras in the order in which they were recorded.

    An image that cannot be read is a problem of the bag and left out. `received_ns` is the time of
    recording; nothing is decoded here.

    :param cameras: camera -> topic, as `camera_topics` returns.
    """
    names = {topic: camera for camera, topic in cameras.items()}
    for message in bag.messages(list(names), start_ns, end_ns):
        if (frame := read_frame(bag, message, names[message.topic])) is not None:
            yield frame


def read_frame(bag: Bag, message: Message, camera: str) -> Frame | None:
    """Return an image message as a frame; None where it is none, which the bag then says."""
    if message.type not in IMAGE_TYPES:
        bag.spoil(message.topic, f'expected images, got a message of {message.type}')
        return None
    read = read_image if message.type == IMAGE else read_compressed_image
    try:
        stamp_ns, frame_id, image = read(message.data)
        image.validate()
    except ImageError as error:
        bag.spoil(message.topic, f'an image at {message.time_ns / 1e9:.3f} s: {error}')
        return None
    return Frame(camera, stamp_ns, message.time_ns, image, frame_id)


def _with_types(bag: Bag, name: str) -> str:
    topic = bag.topics.get(name)
    return f'{name} ({", ".join(topic.types)})' if topic else f'{name} (not there)'
