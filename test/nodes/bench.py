"""A perception node and a test node over real DDS, each in a context and a thread of its own."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from pathlib import Path
import threading
import time
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image

from perception_ros.nodes.perception_node import PerceptionNode
from perception_ros.ros.domain import free_domain
from perception_ros.ros.logs import log_to_ros
from perception_ros.ros.messages import to_header
from perception_ros.ros.qos import make_qos
from test.builders import picture

RED = (20, 30, 60, 70)
"""Where `image` has its rectangle, in pixels."""


def image(stamp_s: int = 1, frame_id: str = 'front_optical', **box: Any) -> Image:
    """Return a bgr8 image of 128x96 pixels with a red rectangle, or those named."""
    pixels = picture(128, 96, **(box or {'red': RED}))
    message = Image(header=to_header(stamp_s * 10**9, frame_id), encoding='bgr8')
    message.height, message.width, message.step = 96, 128, 3 * 128
    message.data = pixels[..., ::-1].tobytes()
    return message


class Bench:
    """A perception node and a test node, each in a context and a thread of its own."""

    def __init__(self, bundle: Path, domain: int | None = None) -> None:
        self.bundle = bundle
        self.domain = free_domain() if domain is None else domain
        self.heard: dict[str, list[Any]] = {}
        self._stoppers: list[Callable[[], None]] = []
        self._clients: dict[str, Any] = {}
        context = self._context()
        self.me = rclpy.create_node('test', context=context)
        self._spin(self.me, context)
        self.node: PerceptionNode | None = None

    def launch(self, *cameras: str, **parameters: Any) -> None:
        """Start the node; parameters use __ for the dot."""
        values: dict[str, Any] = {
            'camera_names': list(cameras) or ['front'],
            'model_names': ['means'],
            'models.means.backend': 'fake',
            'models.means.bundle': str(self.bundle),
        }
        values |= {name.replace('__', '.'): value for name, value in parameters.items()}
        for camera in filter(None, values['camera_names']):
            values.setdefault(f'cameras.{camera}.reliability', 'reliable')
        context = self._context()
        self.node = PerceptionNode(
            context=context,
            parameter_overrides=[Parameter(name, value=v) for name, v in values.items()],
        )
        log_to_ros(self.node)
        self._spin(self.node, context)

    def _context(self) -> Any:
        context = rclpy.Context()
        rclpy.init(context=context, domain_id=self.domain)
        return context

    def _spin(self, node: Any, context: Any) -> None:
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        thread = threading.Thread(target=executor.spin, daemon=True)
        thread.start()

        def stop() -> None:
            executor.shutdown()
            thread.join(10)
            if isinstance(node, PerceptionNode):
                node.close()
            node.destroy_node()
            rclpy.shutdown(context=context)

        self._stoppers.append(stop)

    def close(self) -> None:
        for stop in reversed(self._stoppers):
            stop()

    def call(self, kind: Any, service: str, request: Any) -> Any:
        if service not in self._clients:
            client = self.me.create_client(kind, f'/perception/perception_node/{service}')
            assert client.wait_for_service(10)
            time.sleep(0.1)  # the server may yet have to find the way back to this client
            self._clients[service] = client
        for _ in range(3):  # DDS may lose the answer to a client that it has just discovered
            future = self._clients[service].call_async(request)
            with contextlib.suppress(TimeoutError):
                wait_until(future.done, 10)
                return future.result()
        raise TimeoutError(f'no answer from {service}')

    def transition(self, transition: int) -> bool:
        """Ask for a transition, and judge by the state that the node is in afterwards."""
        before = self.state()
        request = ChangeState.Request()
        request.transition.id = transition
        self.call(ChangeState, 'change_state', request)
        return self.state() != before

    def state(self) -> str:
        return str(self.call(GetState, 'get_state', GetState.Request()).current_state.label)

    def set(self, name: str, value: Any) -> Any:
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        return self.call(SetParameters, 'set_parameters', request).results[0]

    def active(self) -> None:
        assert self.transition(Transition.TRANSITION_CONFIGURE)
        assert self.transition(Transition.TRANSITION_ACTIVATE)

    def listen(self, kind: Any, topic: str, durability: str = 'volatile') -> list[Any]:
        heard: list[Any] = []
        qos = make_qos('reliable', 100, durability)
        self.me.create_subscription(kind, topic, heard.append, qos)
        wait_until(lambda: self.me.count_publishers(topic) > 0)
        return heard

    def camera(self, name: str, kind: Any = Image, reliability: str = 'reliable') -> Any:
        suffix = '/compressed' if kind is CompressedImage else ''
        topic = f'/{name}/image_raw{suffix}'
        publisher = self.me.create_publisher(kind, topic, make_qos(reliability, 10))
        if reliability == 'reliable':
            wait_until(lambda: publisher.get_subscription_count() > 0)
            # The reader may yet have to find its writer: what comes before that it does not get.
            node = self.node
            wait_until(lambda: node is not None and node.count_publishers(topic) > 0)
            time.sleep(0.1)
        return publisher


def wait_until(condition: Callable[[], object], timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError('did not happen in time')
        time.sleep(0.01)
