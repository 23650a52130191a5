"""A ROS node beside others in one process, or beside one that is looked at: it shares nothing."""

from __future__ import annotations

from types import TracebackType

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from typing_extensions import Self


class NodeApart:
    """A node in a domain, with a context and an executor of its own. A context manager."""

    def __init__(self, name: str, domain: int) -> None:
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

    def __enter__(self) -> Self:
        """Return the node apart itself."""
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
