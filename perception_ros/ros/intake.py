"""Threads that take camera messages as they come, without an executor in between.

An executor of rclpy asks every entity of its nodes before each message and builds a wait set of
them; a message waits for the callback of another topic, a timer or a service to end. Here the
middleware adds to a counter for each message, and a thread that sleeps on the counter takes what
there is, camera after camera. Where cores are many, several such threads share the cameras: taking
a raw image is mostly copying it. Timers, services and events stay with the executor.
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

    :param threads: how many share the subscriptions; one subscription's messages come in order, in
        one thread.
    """

    def __init__(self, threads: int = 1) -> None:
        self.group = OwnThread()
        self._lanes = [_Lane() for _ in range(threads)]
        self._notified: list[Subscription[Any]] = []

    def add(self, subscription: Any, on_message: OnMessage) -> None:
        """Take this one's messages; where the RMW has no counter, the executor does as ever."""
        lane = self._lanes[len(self._notified) % len(self._lanes)]
        if notify(subscription, lane.event_fd):
            self._notified.append(subscription)
            lane.readers.append((Reader(subscription), on_message))
        else:
            self.group.of_executor.add(subscription)

    def start(self) -> None:
        """Begin with what has come since the subscriptions were made."""
        for lane in self._lanes:
            lane.start()

    def stop(self) -> None:
        """Take no more; the messages in hand are the last ones."""
        for subscription in self._notified:
            notify(subscription, None)
        self._notified = []
        for lane in self._lanes:
            lane.stop()


class _Lane:
    """One thread, and the subscriptions that it looks after."""

    def __init__(self) -> None:
        self.readers: list[tuple[Reader, OnMessage]] = []
        self.event_fd = os.eventfd(0)
        self._stopping = False
        self._log_limit = DropLog()
        self._thread = threading.Thread(target=self._loop, name='intake', daemon=True)

    def start(self) -> None:
        os.eventfd_write(self.event_fd, 1)
        self._thread.start()

    def stop(self) -> None:
        if self._thread.ident is not None:
            self._stopping = True
            os.eventfd_write(self.event_fd, 1)
            self._thread.join()
        os.close(self.event_fd)

    def _loop(self) -> None:
        while not self._stopping:
            os.eventfd_read(self.event_fd)  # sleeps while it is 0, then makes it 0
            try:
                while self._take_one_each():
                    pass
            except InvalidHandle:
                return  # a subscription was destroyed with its node
            except Exception as error:
                if self._log_limit.may_log('intake', str(error)):
                    _log.error('cannot take camera images: %s; trying again', error)
                time.sleep(RETRY_S)
                os.eventfd_write(self.event_fd, 1)

    def _take_one_each(self) -> bool:
        """Take a message of each topic that has one, and return whether any had."""
        taken = False
        for reader, on_message in self.readers:
            if self._stopping:
                return False
            if (message := reader.take()) is not None:
                on_message(message)
                taken = True
        return taken
