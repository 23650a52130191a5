"""Where a turn is played: a DDS domain of its own, a transport, a folder, and what is sent."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
import json
import os
from pathlib import Path
import sys

from perception_ros.benchmarks.live.settings import Stream, Transport
from perception_ros.benchmarks.process import WorkerProcess
from perception_ros.core.errors import BenchmarkError
from perception_ros.demo.processes import BOUND, NodeProcess
from perception_ros.ros.domain import free_domain, private_environment
from perception_ros.ros.transport import PROFILE_VARIABLES


@dataclass(frozen=True, slots=True)
class Scene:
    """One turn's surroundings; everything that is started there ends with `stack`."""

    stream: Stream
    folder: Path
    environment: dict[str, str]
    stack: ExitStack

    def helper(self, name: str, module: str, *arguments: str) -> WorkerProcess:
        """Start a module of this package that serves tasks."""
        command = (sys.executable, '-m', BOUND, str(os.getpid()), f'perception_ros.{module}')
        return self.stack.enter_context(
            WorkerProcess(self.folder / f'{name}.log', (*command, *arguments), self.environment)
        )

    def node(self, name: str, module: str, *arguments: str) -> NodeProcess:
        """Start a module of this package that is a node."""
        return self.stack.enter_context(
            NodeProcess(
                f'perception_ros.{module}', arguments, self.folder / f'{name}.log',
                self.environment,
            )
        )


def environment(transport: Transport) -> dict[str, str]:
    """Return the environment of processes in a free domain, with a transport.

    :raises BenchmarkError: there is no room for the profile.
    """
    base = {name: value for name, value in os.environ.items() if name not in PROFILE_VARIABLES}
    found = private_environment(free_domain(), base)
    if transport == 'default':
        return {name: value for name, value in found.items() if name not in PROFILE_VARIABLES}
    if not any(name in found for name in PROFILE_VARIABLES):
        raise BenchmarkError(
            'there is no room in /dev/shm for config/fastdds.xml: expected some hundred MiB. Give '
            'a container more (--shm-size), or measure on the default transport'
        )
    return found


def read_json(path: Path) -> dict[str, object]:
    """Read what a process wrote as it ended; empty where it wrote nothing."""
    try:
        content: dict[str, object] = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return {}
    return content
