"""What the core logs, in the node's own log and so on /rosout."""

from __future__ import annotations

import logging

from rclpy.node import Node


class _RosHandler(logging.Handler):
    def __init__(self, node: Node) -> None:
        super().__init__()
        self._logger = node.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        # One call a level: rclpy remembers the severity of each place that logs.
        text = self.format(record)
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        elif record.levelno >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)


def log_to_ros(node: Node) -> None:
    """Send all that `perception_ros` logs through Python's logging to the node's log."""
    logger = logging.getLogger('perception_ros')
    logger.handlers = [_RosHandler(node)]
    logger.setLevel(logging.DEBUG)  # the node's own level decides
    logger.propagate = False
