"""A bag's messages as what the cameras of a configuration would have delivered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from perception_ros.bags.bag import Bag, Message
from perception_ros.bags.frames import camera_topics, IMAGE_TYPES
from perception_ros.bags.messages import IMAGE
from perception_ros.core.config import CameraConfig, PerceptionConfig
from perception_ros.core.errors import ConfigError, ImageError, ReplayError
from perception_ros.core.offline import RecordedTime
from perception_ros.core.types import Frame
from perception_ros.replay.results import NAMESPACE
from perception_ros.ros.cdr import read_compressed_image, read_image


class Refused(NamedTuple):
    """A message of which no frame can be made."""

    camera: str
    stamp_ns: int
    error: ImageError


def choose_cameras(
    bag: Bag, config: PerceptionConfig, only: Sequence[str] = ()
) -> tuple[PerceptionConfig, dict[str, str]]:
    """Return the configuration with the cameras that are to be replayed, and camera -> topic.

    A configuration without cameras gets those of the bag. Raw and compressed images of a camera
    count as the same, whatever its transport says.

    :param only: names of cameras to take; all if empty.
    :raises ReplayError: the bag has none of the cameras.
    :raises ConfigError: a name is of no camera, or two have the same topic.
    """
    topics = {
        name: _topic(bag, camera.topic_for(name)) for name, camera in config.cameras.items()
    } if config.cameras else dict(camera_topics(bag))
    cameras = config.cameras or dict.fromkeys(topics, CameraConfig())
    if unknown := sorted(set(only) - set(cameras)):
        raise ConfigError(
            f'there are no cameras {", ".join(unknown)}: expected some of {", ".join(cameras)}'
        )
    wanted = [name for name in cameras if not only or name in only]
    for name in wanted:
        if not topics[name]:
            bag.note(f'camera {name}: there is no topic {cameras[name].topic_for(name)}')
    found = {name: topic for name in wanted if (topic := topics[name])}
    if not found:
        images = [name for name, topic in bag.topics.items() if set(topic.types) & {*IMAGE_TYPES}]
        raise ReplayError(
            f'{bag.path} has images of none of the cameras {", ".join(wanted)}; expected topics '
            f'{", ".join(cameras[name].topic_for(name) for name in wanted)}, it has images on '
            f'{", ".join(images) or "none"}'
        )
    if len(set(found.values())) < len(found):
        raise ConfigError(f'two of the cameras {", ".join(found)} have the same topic')
    # A camera without a topic stays: the pipeline says of it that it is missing, as the node does.
    models = {
        name: model.model_copy(update={'cameras': kept})
        for name, model in config.models.items()
        if (kept := tuple(c for c in wanted if not model.cameras or c in model.cameras))
    }
    if not models:
        raise ConfigError(
            f'no model gets the images of {", ".join(wanted)}: expected at least one name in '
            'model_names'
        )
    chosen = {'cameras': {name: cameras[name] for name in wanted}, 'models': models}
    return config.model_copy(update=chosen), found


def read_inputs(
    messages: Iterable[Message], config: PerceptionConfig, topics: Mapping[str, str]
) -> Iterator[tuple[int, Frame | Refused]]:
    """Yield the time of recording of each message, and the frame that it is.

    Messages come as they were recorded, those of other topics being left out; the time at which a
    frame comes, `Frame.received_ns`, is made of the stamps.

    :param topics: camera -> topic.
    """
    names = {topic: camera for camera, topic in topics.items()}
    time = RecordedTime()
    for message in messages:
        if camera := names.get(message.topic):
            yield message.time_ns, _read(message, camera, config.cameras[camera], time)


def _read(
    message: Message, camera: str, settings: CameraConfig, time: RecordedTime
) -> Frame | Refused:
    stamp_ns = 0
    try:
        if message.type not in IMAGE_TYPES:
            raise ImageError(
                f'expected {" or ".join(IMAGE_TYPES)}, got a message of {message.type}'
            )
        read = read_image if message.type == IMAGE else read_compressed_image
        stamp_ns, frame_id, image = read(message.data)
    except ImageError as error:
        return Refused(camera, stamp_ns, error)
    if settings.stamp_source == 'arrival':
        stamp_ns = message.time_ns
    when_ns = time.now_ns
    if stamp_ns > 0:
        when_ns = time.pass_to(camera, stamp_ns + round(settings.time_offset_ms * 1e6))
    return Frame(camera, stamp_ns, when_ns, image, frame_id)


def _topic(bag: Bag, name: str) -> str:
    """Return the topic of the bag that a camera's is, raw or compressed; '' if there is none."""
    whole = name if name.startswith('/') else f'{NAMESPACE}/{name.removeprefix("~/")}'
    raw = whole.removesuffix('/compressed')
    options = (whole, raw, f'{raw}/compressed')
    return next((option for option in options if option in bag.topics), '')
