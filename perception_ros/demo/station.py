"""A ROS node of one's own beside the perception node: drives its lifecycle, and waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import time
from types import TracebackType
from typing import Any

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from typing_extensions import Self

from perception_ros.demo.processes import DemoError

_NODE = '/perception/perception_node'

Check = Callable[[], None]
"""Called while waiting; raises when it is pointless to wait on."""

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
    'cleanup': Transition.TRANSITION_CLEANUP,
}


class Station:
    """A node in a context of its own. A context manager."""

    def __init__(self, name: str, domain: int, check: Check) -> None:
        self._check = check
        self._context = rclpy.Context()
        # Ctrl-C is the command line's: it ends the children first
        rclpy.init(
            context=self._context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._node = rclpy.create_node(name, context=self._context)
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

    def wait_for(self, names: Iterable[str], timeout_s: float) -> None:
        """Wait until each of these topics has a publisher.

        :raises DemoError: some has none; they are named.
        """
        deadline = time.monotonic() + timeout_s
        names = list(names)
        while missing := [name for name in names if not self._node.count_publishers(name)]:
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

    def __enter__(self) -> Self:
        """Return the station itself."""
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
