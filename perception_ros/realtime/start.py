"""How soon the node answers after its process was started, and what it costs while it idles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
import time
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from perception_ros.core.config import CameraConfig, PerceptionConfig
from perception_ros.core.image import Image as CoreImage
from perception_ros.core.machine import cpu_seconds
from perception_ros.core.topics import topic_names
from perception_ros.demo.processes import DemoError, NodeProcess
from perception_ros.realtime.listener import ResultListener
from perception_ros.ros.domain import environment_of, free_domain, private_environment
from perception_ros.ros.messages import bgr_to_jpeg, to_header, to_image_message
from perception_ros.ros.qos import make_qos

SIZE = (1280, 720)
"""Width and height of the images that are sent, in pixels."""

RATE_HZ = 10.0

_NODE = 'perception_ros.nodes.perception_node'
_PATIENCE_S = 120.0
_QUIET_S = 2.0
"""Until what was sent last has gone through the node."""


@dataclass(frozen=True, slots=True)
class Start:
    """One start of the node."""

    first_result_s: float
    """From the start of the process to the first message of a result, cameras already sending."""
    idle_cpu_share: float
    """Of one core, once active and without images."""


def measure_start(
    parameters: Path, config: PerceptionConfig, outputs: Mapping[str, frozenset[str]],
    idle_s: float, log: Path,
) -> Start:
    """Start the node beside cameras that send grey images already, then let it idle.

    :param parameters: its parameter file, of which `config` was read.
    :param outputs: model -> what it says.
    :param log: where its output goes.
    :raises DemoError: it ends, or says nothing within two minutes.
    """
    domain = free_domain()
    environment = private_environment(domain)
    node: NodeProcess | None = None
    heard_s: list[float] = []

    def check() -> None:
        if node:
            node.check()

    with environment_of(environment), ResultListener(domain, check) as listener:
        cameras = _Cameras(listener.node, config)
        topics = topic_names(config, outputs)
        names = {key: f'/perception/{topic}' for key, topic in topics.items()}
        listener.listen(names, lambda *_: heard_s.append(time.monotonic()))
        begun_s = time.monotonic()
        arguments = ['--params-file', str(parameters), '-p', 'autostart:=true']
        with NodeProcess(_NODE, arguments, log, environment) as node:
            while not heard_s:
                listener.spin(1 / RATE_HZ)
                cameras.send()
                if time.monotonic() - begun_s > _PATIENCE_S:
                    raise DemoError(f'no result within {_PATIENCE_S:g} s', node.log_tail())
            listener.spin(_QUIET_S)
            before_s, before_cpu_s = time.monotonic(), cpu_seconds(node.pid)
            listener.spin(idle_s)
            used_s = cpu_seconds(node.pid) - before_cpu_s
            idle = used_s / (time.monotonic() - before_s)
    return Start(heard_s[0] - begun_s, idle)


class _Cameras:
    """Publishers of one grey image for each camera of a configuration."""

    def __init__(self, node: Node, config: PerceptionConfig) -> None:
        grey = np.full((SIZE[1], SIZE[0], 3), 114, np.uint8)
        header = to_header(0, 'camera')
        self._images: dict[str, Any] = {
            'raw': to_image_message(header, CoreImage.from_array(grey)),
            'compressed': bgr_to_jpeg(header, grey, 90),
        }
        self._publishers = [
            (camera.transport, self._publisher(node, name, camera))
            for name, camera in config.cameras.items()
        ]

    def send(self) -> None:
        """Send an image of this moment for each camera that somebody listens to."""
        header = to_header(time.time_ns(), 'camera')
        for transport, publisher in self._publishers:
            if publisher.get_subscription_count():
                self._images[transport].header = header
                publisher.publish(self._images[transport])

    @staticmethod
    def _publisher(node: Node, name: str, camera: CameraConfig) -> Any:
        kind = CompressedImage if camera.transport == 'compressed' else Image
        qos = make_qos(camera.reliability, camera.queue_depth)
        return node.create_publisher(kind, camera.topic_for(name), qos)
