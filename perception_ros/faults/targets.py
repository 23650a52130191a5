"""What a fault strikes: the topics of a bag that its cameras, its topics or its kind mean."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
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
    is_stamped: bool
    """Whether its messages start with a std_msgs/Header."""
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
        if not _fits(bag, topic, fault.subject):
            raise ConfigError(
                f'fault {fault.name}: {topic} has {", ".join(bag.topics[topic].types)}; '
                f'expected {_WORDS[fault.subject]}'
            )
    targets = {
        topic: Target(cameras.get(topic, ''), topic, _fits(bag, topic, 'stamped'))
        for topic in chosen
    }
    if fault.takes_camera_info:
        infos = {PurePosixPath(t).parent: t for t in bag.topics if _has(bag, t, {CAMERA_INFO})}
        for topic in chosen:
            info = next((infos[p] for p in PurePosixPath(topic).parents[:2] if p in infos), None)
            if topic in cameras and info:
                targets.setdefault(info, Target('', topic, True, is_beside=True))
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
    clouds = [topic for topic in bag.topics if _fits(bag, topic, 'clouds')]
    if not clouds:
        raise ConfigError(
            f'fault {fault.name}: {bag.path} has no {POINT_CLOUD}; take the fault out, or name '
            'topics'
        )
    return clouds


def _fits(bag: Bag, topic: str, subject: Subject) -> bool:
    if subject == 'stamped':
        return all(bag.types.starts_with_header(kind) for kind in bag.topics[topic].types)
    if subject == 'pictures':
        return _has(bag, topic, IMAGE_TYPES)
    return subject == 'any' or _has(bag, topic, {POINT_CLOUD})


def _has(bag: Bag, topic: str, types: Iterable[str]) -> bool:
    return bool({*bag.topics[topic].types} & {*types})


_WORDS: Mapping[Subject, str] = {
    'pictures': ' or '.join(IMAGE_TYPES),
    'stamped': 'messages that start with a std_msgs/Header',
    'clouds': POINT_CLOUD,
    'any': 'anything',
}
