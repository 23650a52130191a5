"""What a fault strikes: the topics of a bag that its cameras, its topics or its kind mean."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from perception_ros.bags.bag import Bag
from perception_ros.bags.frames import IMAGE_TYPES
from perception_ros.bags.messages import CAMERA_INFO, POINT_CLOUD
from perception_ros.core.errors import ConfigError
from perception_ros.faults.kinds import Fault, Subject


class Target(NamedTuple):
    """A topic that a fault may strike."""

    camera: str
    """Whose images they are; '' for other messages."""
    chance: str
    """Topic whose chance it shares."""
    types: frozenset[str]
    """Of its messages, those that can be struck,"""
    stamped: frozenset[str]
    """and those that start with a std_msgs/Header."""
    is_beside: bool = False
    """Whether it is there only because the images of a camera are struck."""


def targets_of(
    fault: Fault, bag: Bag, cameras: Mapping[str, str], known: Collection[str] = ()
) -> dict[str, Target]:
    """Return topic -> what is struck there.

    :param cameras: image topic -> camera.
    :param known: further cameras, of which the bag has no images.
    :raises ConfigError: a camera or topic is not there, or of a kind that cannot be struck.
    """
    chosen = _chosen(fault, bag, cameras, known)
    for topic in chosen:
        if not _types(bag, topic, fault.subject):
            raise ConfigError(
                f'fault {fault.name}: {topic} has {", ".join(bag.topics[topic].types)}; '
                f'expected {_WORDS[fault.subject]}'
            )
    targets = {
        topic: Target(
            cameras.get(topic, ''), topic, _types(bag, topic, fault.subject),
            _types(bag, topic, 'stamped'),
        )
        for topic in chosen
    }
    if fault.takes_camera_info:
        beside = frozenset((CAMERA_INFO,))
        infos = {PurePosixPath(t).parent: t for t in bag.topics if beside & {*bag.topics[t].types}}
        for topic in chosen:
            if topic in cameras and (info := infos.get(_driver(topic))):
                targets.setdefault(info, Target('', topic, beside, beside, is_beside=True))
    return targets


def _chosen(
    fault: Fault, bag: Bag, cameras: Mapping[str, str], known: Collection[str]
) -> list[str]:
    if unknown := [name for name in fault.topics if name not in bag.topics]:
        raise ConfigError(
            f'fault {fault.name}: {bag.path} has no topic {", ".join(unknown)}; expected some of '
            f'{", ".join(bag.topics) or "none, for it has no topics"}'
        )
    names = {*cameras.values(), *known}
    if unknown := [name for name in fault.cameras if name not in names]:
        raise ConfigError(
            f'fault {fault.name}: there are no cameras {", ".join(unknown)}; expected some of '
            f'{", ".join(sorted(names)) or "none, for there are no images"}'
        )
    if fault.cameras or fault.topics:
        of_cameras = [topic for topic, camera in cameras.items() if camera in fault.cameras]
        return list(dict.fromkeys([*of_cameras, *fault.topics]))
    if fault.subject != 'clouds':
        return list(cameras)
    clouds = [topic for topic in bag.topics if _types(bag, topic, 'clouds')]
    if not clouds:
        raise ConfigError(
            f'fault {fault.name}: {bag.path} has no {POINT_CLOUD}; take the fault out, or name '
            'topics'
        )
    return clouds


def _driver(topic: str) -> PurePosixPath:
    """Return what the image topics of a camera and its CameraInfo lie below."""
    return PurePosixPath(topic.removesuffix('/compressed')).parent


def _types(bag: Bag, topic: str, subject: Subject) -> frozenset[str]:
    """Return those types of a topic's messages that a kind of fault can strike."""
    types = frozenset(bag.topics[topic].types)
    if subject == 'stamped':
        return frozenset(kind for kind in types if bag.types.starts_with_header(kind))
    return types if subject == 'any' else types & _SUBJECTS[subject]


_SUBJECTS: Mapping[Subject, frozenset[str]] = {
    'pictures': frozenset(IMAGE_TYPES), 'clouds': frozenset((POINT_CLOUD,)),
}

_WORDS: Mapping[Subject, str] = {
    'pictures': ' or '.join(IMAGE_TYPES),
    'stamped': 'messages that start with a std_msgs/Header',
    'clouds': POINT_CLOUD,
    'any': 'anything',
}
