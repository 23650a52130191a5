"""The demonstration's own ROS node: drives the lifecycle and listens to what comes out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import time
from types import TracebackType
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from typing_extensions import Self
from vision_msgs.msg import Detection2DArray

from perception_ros.demo.harvest import FrameKey, Harvest
from perception_ros.demo.processes import DemoError
from perception_ros.ros.messages import to_nanoseconds
from perception_ros.ros.qos import make_qos

_NODE = '/perception/perception_node'
_DEPTH = 200
"""More than the publishers hold: nothing is lost while a picture is written to disk."""

Check = Callable[[], None]
"""Called while waiting; raises when it is pointless to wait on."""

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
    'cleanup': Transition.TRANSITION_CLEANUP,
}


class Listener:
    """A node in a context of its own. A context manager."""

    def __init__(self, domain: int, harvest: Harvest, check: Check) -> None:
        self.results: dict[str, int] = {}
        self.last_result_s = time.monotonic()
        self._harvest = harvest
        self._check = check
        self._context = rclpy.Context()
        # Ctrl-C is the command line's: it ends the children first
        rclpy.init(
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = rclpy.create_node('demo', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._change_state: Any = self._node.create_client(ChangeState, f'{_NODE}/change_state')

    def change_state(self, transition: str, timeout_s: float) -> None:
        """Take the perception node through a transition of `TRANSITIONS`.

        :raises DemoError: it is not there, or refuses.
        """
        deadline = time.monotonic() + timeout_s
        while not self._change_state.service_is_ready():
            self._wait(deadline, f'{_NODE} did not appear within {timeout_s:g} s')
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
        future = self._change_state.call_async(request)
        while not future.done():
            self._wait(deadline, f'{_NODE} took longer than {timeout_s:g} s to {transition}')
        response = future.result()
        if response is None or not response.success:
            raise DemoError(f'{_NODE} cannot {transition}')

    def listen(self, topics: dict[tuple[str, str, str], str], cameras: tuple[str, ...]) -> None:
        """Subscribe to (camera, model, output) -> topic, to overlays and to latency."""
        for (camera, model, output), topic in topics.items():
            if output == 'detections':
                take = partial(self._take_detections, camera, model)
                self._subscribe(Detection2DArray, topic, take)
            else:
                self._subscribe(Image, topic, partial(self._take_mask, f'{model}/{output}'))
        for camera in cameras:
            take = partial(self._take_overlay, camera)
            self._subscribe(CompressedImage, f'{camera}/overlay/compressed', take)
        self._node.create_subscription(
            DiagnosticArray, '/perception/latency', self._take_latency, make_qos('reliable', 10)
        )

    def wait_for_publishers(self, timeout_s: float) -> None:
        """Wait until each of the topics has a publisher.

        :raises DemoError: some has none; they are named.
        """
        deadline = time.monotonic() + timeout_s
        while missing := [name for name in self.results if not self._node.count_publishers(name)]:
            self._wait(deadline, f'nobody publishes {", ".join(missing)}')

    def spin(self, seconds: float) -> None:
        """Take what comes in that time."""
        end = time.monotonic() + seconds
        while (remaining := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=remaining)
        self._check()

    def _wait(self, deadline: float, complaint: str) -> None:
        self.spin(0.05)
        if time.monotonic() > deadline:
            raise DemoError(complaint)

    def _subscribe(self, message_type: type, topic: str, take: Callable[[Any], None]) -> None:
        name = f'/perception/{topic}'
        self.results[name] = 0

        def count(message: Any) -> None:
            self.results[name] += 1
            self.last_result_s = time.monotonic()
            take(message)

        self._node.create_subscription(message_type, name, count, make_qos('reliable', _DEPTH))

    def _take_detections(self, camera: str, model: str, message: Detection2DArray) -> None:
        labelled = []
        for detection in message.detections:
            centre, box = detection.bbox.center.position, detection.bbox
            half_x, half_y = box.size_x / 2, box.size_y / 2
            corners = [centre.x - half_x, centre.y - half_y, centre.x + half_x, centre.y + half_y]
            labelled.append((detection.results[0].hypothesis.class_id, np.array(corners)))
        self._harvest.add_boxes(model, _key(camera, message), labelled)

    def _take_mask(self, name: str, message: Image) -> None:
        self._harvest.masks[name] += 1

    def _take_overlay(self, camera: str, message: CompressedImage) -> None:
        self._harvest.add_picture(_key(camera, message), bytes(message.data))

    def _take_latency(self, message: DiagnosticArray) -> None:
        for status in message.status:
            camera, _, stage = status.name.rpartition('/')
            if stage == 'total':
                values = {pair.key: pair.value for pair in status.values}
                self._harvest.latency_p95_ms[camera] = float(values.get('p95_ms', 'nan'))

    def __enter__(self) -> Self:
        """Return the listener itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the domain."""
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


def _key(camera: str, message: Any) -> FrameKey:
    return FrameKey(camera, to_nanoseconds(message.header.stamp))
