"""What a user asks of a run in real time, beside what he asks of any replay."""

from __future__ import annotations

from dataclasses import dataclass

from perception_ros.bags.bag import Topic
from perception_ros.bags.frames import GROUND_TRUTH
from perception_ros.core.errors import ConfigError, ReplayError
from perception_ros.replay.job import Job
from perception_ros.replay.results import NAMESPACE

NO_TOPICS = 'none'
"""Instead of names of topics: images alone."""

_NOT_PLAYED = ('/clock', '/rosout', '/parameter_events', '/diagnostics')
"""What ROS, or the node, or we say ourselves."""


@dataclass(frozen=True, slots=True)
class RealtimeOptions:
    """How it is played."""

    rate: float = 1.0
    loop: int = 1
    """How many times."""
    node: str = ''
    """Namespace of a node that runs already; '' to start one."""
    topics: tuple[str, ...] = ()
    """Which are played besides images: all if empty, none if `NO_TOPICS`."""

    def __post_init__(self) -> None:
        """Raise ReplayError for what cannot be."""
        if self.node and not self.node.startswith('/'):
            raise ReplayError(
                f'node {self.node!r}: expected the namespace of a running node, such as '
                f'{NAMESPACE}'
            )

    @property
    def namespace(self) -> str:
        """Of the node that is played to."""
        return self.node or NAMESPACE


def topics_beside(job: Job, live: RealtimeOptions) -> dict[str, Topic]:
    """Return the topics that are played besides the images of the cameras.

    :raises ConfigError: a name is of no topic.
    """
    topics, images = job.bag.topics, set(job.topics.values())
    if live.topics == (NO_TOPICS,):
        return {}
    if unknown := sorted(set(live.topics) - set(topics)):
        raise ConfigError(
            f'there are no topics {", ".join(unknown)}: expected some of '
            f'{", ".join(topics)}, or {NO_TOPICS}'
        )
    said = tuple(f'{live.namespace}/{camera}/' for camera in job.topics)
    return {
        name: topic for name, topic in topics.items()
        if name not in images and name not in _NOT_PLAYED
        and (name in live.topics if live.topics else GROUND_TRUTH not in name.split('/'))
        and not (name.startswith(said) and not name.endswith('/camera_info'))
    }
