"""A thread that takes camera messages as they come, without an executor in between.

An executor of rclpy asks every entity of its nodes before each message and builds a wait set of
them; a message waits for the callback of another topic, a timer or a service to end. Here the
middleware adds to a counter for each message, and one thread that sleeps on the counter takes what
there is, camera after camera. Timers, services and events stay with the executor.
"""

from __future__ import annotations

from collections.abc import Callable
import logging
import os
import threading
import time
from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.subscription import Subscription

from perception_ros.core.drop_log import DropLog
from perception_ros.ros.rcl import notify, Reader

RETRY_S = 0.1
"""After an error of the middleware: do not spin."""

_log = logging.getLogger(__name__)

OnMessage = Callable[[memoryview], None]
"""Takes a serialised message, which lives as long as somebody holds a view of it."""


class OwnThread(CallbackGroup):
    """Subscriptions that no executor may take from, nor wait for the QoS events of.

    In Fast DDS a reader's events and its messages wake whoever waits for either: an executor that
    waited for the events alone would build its wait set anew for each image, and find nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of_executor: set[Subscription[Any]] = set()

    def can_execute(self, entity: Any) -> bool:
        """Say whether the executor may look after it."""
        return entity in self.of_executor

    def beginning_execution(self, entity: Any) -> bool:
        """Let the executor go on with what it may look after."""
        return self.can_execute(entity)

    def ending_execution(self, entity: Any) -> None:
        """Keep no count: callbacks of this group may run at once."""


class Intake:
    """Takes the messages of subscriptions between `start` and `stop`.

    Create each subscription raw, with `group` as its callback group, then `add` it.
    """

    def __init__(self) -> None:
        self.group = OwnThread()
        self._readers: list[tuple[Reader, OnMessage]] = []
        self._subscriptions: list[Subscription[Any]] = []
        self._event_fd = os.eventfd(0)
        self._stopping = False
        self._log_limit = DropLog()
        self._thread = threading.Thread(target=self._loop, name='intake', daemon=True)

    def add(self, subscription: Any, on_message: OnMessage) -> None:
        """Take this one's messages; where the RMW has no counter, the executor does as ever."""
        if notify(subscription, self._event_fd):
            self._subscriptions.append(subscription)
            self._readers.append((Reader(subscription), on_message))
        else:
            self.group.of_executor.add(subscription)

    def start(self) -> None:
        """Begin with what has come since the subscriptions were made."""
        os.eventfd_write(self._event_fd, 1)
        self._thread.start()

    def stop(self) -> None:
        """Take no more; the message in hand is the last one."""
        for subscription in self._subscriptions:
            notify(subscription, None)
        self._subscriptions = []
        if self._thread.ident is not None:
            self._stopping = True
            os.eventfd_write(self._event_fd, 1)
            self._thread.join()
        os.close(self._event_fd)

    def _loop(self) -> None:
        while not self._stopping:
            os.eventfd_read(self._event_fd)  # sleeps while it is 0, then makes it 0
            try:
                while self._take_one_each():
                    pass
            except InvalidHandle:
                return  # a subscription was destroyed with its node
            except Exception as error:
                if self._log_limit.may_log('intake', str(error)):
                    _log.error('cannot take camera images: %s; trying again', error)
                time.sleep(RETRY_S)
                os.eventfd_write(self._event_fd, 1)

    def _take_one_each(self) -> bool:
        """Take a message of each topic that has one, and return whether any had."""
        taken = False
        for reader, on_message in self._readers:
            if self._stopping:
                return False
            if (message := reader.take()) is not None:
                on_message(message)
                taken = True
        return taken
