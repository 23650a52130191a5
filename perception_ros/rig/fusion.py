"""The fusion node in the time of the world: a LiDAR, and cameras whose results come faster."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
import json
from typing import Any

import yaml

from perception_ros.benchmarks.live.reports import FusionLiveReport
from perception_ros.benchmarks.live.settings import Timing, Transport, Vehicle
from perception_ros.benchmarks.report import Occasion
from perception_ros.core.errors import BenchmarkError
from perception_ros.rig.compare import Announce, compare, Contender, facts
from perception_ros.rig.scene import Scene
from perception_ros.rig.systems import Outcome, refusal, System
from perception_ros.rig.vehicle import OUTPUTS

NODE = 'fusion_node'
_DEPTH = 1000


def measure(
    vehicle: Vehicle,
    timing: Timing,
    announce: Announce,
    *,
    command: str,
    transport: Transport = 'profile',
) -> FusionLiveReport:
    """Send for a while, and see which sweeps come out."""
    occasion = Occasion(command)
    make = partial(FusionSystem, vehicle)
    sides = compare({NODE: Contender(make, transport, vehicle)}, timing, announce)
    turns = [turn for turn in sides[NODE].turns if turn.heard]
    sweeps = sum(turn.sent.by_camera['objects'] for turn in turns)
    whole = sum(min(turn.heard.by_camera.values()) for turn in turns if turn.heard)
    return FusionLiveReport(
        **facts(occasion, vehicle, timing, sides, []), sweeps=sweeps, lost=sweeps - whole
    )


class FusionSystem(System):
    """The fusion node, as launch starts it, and who hears its objects and points."""

    def __init__(self, vehicle: Vehicle, parameters: Mapping[str, Any] | None = None) -> None:
        self._vehicle = vehicle
        self._parameters = parameters or {}

    def start(self, scene: Scene) -> None:
        """Start the listener and the node, which configures and activates itself."""
        self.listener = scene.helper('listener', 'rig.receiver', json.dumps({
            'topics': OUTPUTS, 'kind': {name: name for name in OUTPUTS},
            'reliability': 'reliable', 'depth': _DEPTH,
        }))
        path = scene.folder / f'{NODE}.yaml'
        head = 'scene' if self._vehicle.masks else ''
        content = {'/**': {'ros__parameters': {
            'camera_names': list(self._vehicle.names),
            'cameras': {name: {'semantic': [head]} for name in self._vehicle.names},
            'lidar': {'reliability': 'reliable'}, 'autostart': True, **self._parameters,
        }}}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        self._log = scene.folder / f'{NODE}.log'
        self._node = scene.node(NODE, f'nodes.{NODE}', '--params-file', str(path))
        self.processes = [self._node.pid]

    def check(self) -> None:
        """Raise if the node has died, or has refused to work."""
        self._node.check()
        if why := refusal(self._log):
            raise BenchmarkError(f'{NODE} {why}')

    def finish(self) -> Outcome:
        """End the node."""
        self._node.stop()
        return Outcome()
