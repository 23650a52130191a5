"""The node that a bag is played to: one that is started for it, or one that runs already."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from perception_ros.bags.messages import COMPRESSED_IMAGE
from perception_ros.demo.processes import NodeProcess
from perception_ros.realtime.options import RealtimeOptions
from perception_ros.replay.job import Job
from perception_ros.ros.domain import (
    chosen_domain,
    environment_of,
    free_domain,
    private_environment,
)

APPEAR_S = 60.0
"""A node that is started, and what it publishes, is found within this time."""
_THERE_S = 10.0
"""And one that runs already within this."""


class NodeAtWork(NamedTuple):
    """A node to play to."""

    namespace: str
    domain: int
    process: NodeProcess | None
    """None: one that runs already, which is not ours to lead."""

    @property
    def patience_s(self) -> float:
        """How long to wait until it is found."""
        return APPEAR_S if self.process else _THERE_S

    def check(self) -> None:
        """Look whether all is well, as far as one can know.

        :raises DemoError: it has ended.
        """
        if self.process:
            self.process.check()

    def log_tail(self) -> str:
        """Return the last lines of its log, if it is known."""
        return self.process.log_tail() if self.process else ''


@contextmanager
def node_at_work(job: Job, live: RealtimeOptions, frame_log: Path) -> Iterator[NodeAtWork]:
    """Give the node; one that was started is not configured yet, and is stopped in the end.

    For as long this process is in the domain of the node.

    :param frame_log: where it is to say what becomes of each frame.
    """
    chosen = chosen_domain()
    if live.node:
        yield NodeAtWork(live.namespace, chosen or 0, None)
        return
    domain = free_domain() if chosen is None else chosen
    environment = private_environment(domain)
    parameters = _write_parameters(job, frame_log)
    with environment_of(environment), NodeProcess(
        'perception_ros.nodes.perception_node',
        ['--params-file', str(parameters), '-p', 'use_sim_time:=true'],
        job.folder.path / 'perception_node.log', environment,
    ) as process:
        yield NodeAtWork(live.namespace, domain, process)


def _write_parameters(job: Job, frame_log: Path) -> Path:
    """Write the node's own parameters: the configuration with the topics of the bag."""
    content = job.config.model_dump(mode='json', exclude_defaults=True)
    for name, topic in job.topics.items():
        types = job.bag.topics[topic].types
        content['cameras'][name] |= {
            'topic': topic,
            'transport': 'compressed' if types[0] == COMPRESSED_IMAGE else 'raw',
            'stamp_source': 'header',  # the player gives them the stamps that they need
        }
    content |= {
        'camera_names': list(job.config.cameras), 'model_names': list(job.config.models),
        'frame_log': str(frame_log.resolve()), 'autostart': False, 'build_only': False,
    }
    content.pop('summary_file', None)
    path = job.folder.path / 'perception_node.yaml'
    text = yaml.safe_dump({'/**': {'ros__parameters': _filled(content)}}, sort_keys=False)
    with job.folder.writing():
        path.write_text(text, encoding='utf-8')
    return path


def _filled(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty: ROS has no such parameters."""
    found = {
        key: _filled(value) if isinstance(value, Mapping) else value for key, value in tree.items()
    }
    return {key: value for key, value in found.items() if value not in ({}, [])}
