"""What the lifecycle nodes have in common: steps that succeed or say why, and a main function."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
import logging
import sys
from typing import Any

import cv2
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from perception_ros.core.errors import PerceptionError
from perception_ros.nodes.allocator import keep_freed_memory
from perception_ros.nodes.signals import on_end
from perception_ros.ros.declare import EmptyListsNode
from perception_ros.ros.logs import log_to_ros

SIGNAL_PERIOD_S = 0.2
"""The node ends this long after a signal at most: who waits for ROS cannot be woken."""


class ManagedNode(LifecycleNode, EmptyListsNode):
    """A lifecycle node; a step that fails says why and leaves the node in the state before."""

    def __init__(self, name: str, **node_options: Any) -> None:
        super().__init__(
            name,
            namespace='perception',
            automatically_declare_parameters_from_overrides=True,
            **node_options,
        )

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open everything; on any error say why and stay unconfigured."""
        return self._attempt('configure', self._configure, undo=self._close)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to work; on any error say why and stay inactive."""
        super().on_activate(state)
        return self._attempt('activate', self._start, undo=self._stop)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving, and finish what is in hand."""
        super().on_deactivate(state)
        return self._attempt('deactivate', self._stop)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free what was opened, and withdraw the topics."""
        return self._attempt('clean up', self._close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do what deactivate and cleanup do, from whichever state."""
        return self._attempt('shut down', self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured anew."""
        return self._attempt('recover', self.close)

    def interrupt(self) -> None:
        """Give up what takes long; called from any thread when the process is asked to end."""

    def close(self) -> None:
        """Stop and free everything. Idempotent."""
        self._stop()
        self._close()

    @abstractmethod
    def _configure(self) -> None:
        """Read the parameters and open everything."""

    @abstractmethod
    def _start(self) -> None:
        """Begin to work."""

    @abstractmethod
    def _stop(self) -> None:
        """Work no more. Idempotent."""

    @abstractmethod
    def _close(self) -> None:
        """Free what `_configure` has opened. Idempotent."""

    def _attempt(
        self, what: str, step: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run a step of the lifecycle. rclpy would swallow an exception without a word."""
        try:
            step()
        except Exception as error:
            self.get_logger().error(f'cannot {what}: {error}')
            if not isinstance(error, PerceptionError):
                logging.getLogger(__name__).exception('this is a defect of perception_ros')
            if undo:
                undo()
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS


def run(
    make: Callable[[], ManagedNode],
    args: list[str] | None,
    instead: Callable[[Any], int | None] = lambda node: None,
) -> int:
    """Run a node until it is told to end, by SIGINT, SIGTERM or a shutdown of its context.

    :param instead: may do another work with the node, and return the process's exit status.
    """
    keep_freed_memory()
    # OpenCV's own threads wait for the next image by spinning: a fifth of the CPU time of a frame.
    cv2.setNumThreads(1)
    # rclpy's own handlers would shut the context down before the last results are published.
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    except Exception as error:  # rclpy's own, of several kinds: arguments, or a missing file
        print(f'error: {str(error).splitlines()[0]}; see what stands after --ros-args. '
              '`perception_ros parameters` prints a file of parameters', file=sys.stderr)
        return 2
    node: ManagedNode | None = None
    ended = on_end(lambda: node.interrupt() if node else None)
    node = make()
    log_to_ros(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if (status := instead(node)) is not None:
            return status
        autostart = node.get_parameter('autostart').value
        configured = autostart and node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        if configured and not ended.is_set():
            node.trigger_activate()
        if not configured:
            name = node.get_fully_qualified_name()
            node.get_logger().info(
                f'waits to be configured: `ros2 lifecycle set {name} configure`, then `activate`; '
                'or end it and start it with -p autostart:=true'
            )
        while not ended.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=SIGNAL_PERIOD_S)
    except ExternalShutdownException:
        pass
    finally:
        node.close()
        executor.shutdown()
        node.destroy_node()
        # The thread that waits for signals outlives the interpreter: what it holds is never freed,
        # and Fast DDS would leave hundreds of megabytes in /dev/shm.
        node = None
        rclpy.try_shutdown()
    return 0
