"""What rclpy leaves out of rcl: over real DDS, with what rclpy itself publishes and takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import gc
import os
import threading
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import ByteMultiArray, String

from perception_ros.ros.domain import free_domain
from perception_ros.ros.intake import Intake
from perception_ros.ros.qos import make_qos
from perception_ros.ros.rcl import notify, publish, Reader

QOS = make_qos('reliable', 100)
LONG_ENOUGH_S = 20.0

pytestmark = pytest.mark.dds


@pytest.fixture
def node() -> Iterator[Node]:
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=free_domain())
    made = Node('rcl_test', context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def wait_for(condition: Callable[[], Any]) -> Any:
    end = time.monotonic() + LONG_ENOUGH_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.005)
    raise AssertionError('it did not come to pass')


def connected(node: Node, topic: str) -> tuple[Any, Any]:
    intake = Intake()
    subscription = node.create_subscription(
        String, topic, lambda _: None, QOS, raw=True, callback_group=intake.group
    )
    publisher = node.create_publisher(String, topic, QOS)
    wait_for(publisher.get_subscription_count)
    return subscription, publisher


def test_takes_what_rclpy_publishes(node: Node) -> None:
    subscription, publisher = connected(node, 'words')
    reader = Reader(subscription)
    assert reader.take() is None
    sent = [String(data='x' * length) for length in (0, 1, 100_000, 7)]  # the buffer has to grow
    for message in sent:
        publisher.publish(message)
    taken = [wait_for(reader.take) for _ in sent]
    assert [deserialize_message(bytes(view), String) for view in taken] == sent


def test_rclpy_takes_what_is_published_from_any_memory(node: Node) -> None:
    """Results are published from arrays that a later one may overwrite."""
    got: list[str] = []
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    node.create_subscription(String, 'words', lambda message: got.append(message.data), QOS)
    publisher = node.create_publisher(String, 'words', QOS)
    wait_for(publisher.get_subscription_count)
    memory = bytearray(serialize_message(String(data='first')))
    publish(publisher, memory)
    memory[:] = serialize_message(String(data='other'))
    publish(publisher, bytes(memory))
    publish(publisher, memoryview(memory))
    wait_for(lambda: executor.spin_once(timeout_sec=0.01) or len(got) == 3)
    assert got == ['first', 'other', 'other']
    executor.shutdown()


def test_a_message_does_not_change_while_it_is_looked_at_and_its_memory_is_used_again(
    node: Node,
) -> None:
    """A frame waits for its engine for as long as it may; new pages for each cost most of all."""
    subscription, publisher = connected(node, 'words')
    reader = Reader(subscription)

    def take(text: str) -> memoryview:
        publisher.publish(String(data=text))
        view = wait_for(reader.take)
        assert isinstance(view, memoryview)
        return view

    def address(view: memoryview) -> int:
        return int(np.frombuffer(view, np.uint8).ctypes.data)

    first = take('first')
    part = first[4:]
    second = take('second')
    assert deserialize_message(bytes(first), String).data == 'first'
    assert address(first) != address(second)
    where = address(first)
    del first
    assert address(take('third')) != where, 'a part of it is still looked at'
    del part
    assert where in (address(take('fourth')), address(take('fifth')))


def test_what_is_looked_at_outlives_its_reader(node: Node) -> None:
    subscription, publisher = connected(node, 'words')
    reader: Reader | None = Reader(subscription)
    publisher.publish(String(data='a' * 50_000))
    view = wait_for(reader.take)  # type: ignore[union-attr]
    reader = None
    gc.collect()
    assert deserialize_message(bytes(view), String).data == 'a' * 50_000


def test_messages_are_counted_until_one_asks_no_longer(node: Node) -> None:
    subscription, publisher = connected(node, 'words')
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    assert notify(subscription, counter)
    publisher.publish(String(data='heard'))
    assert wait_for(lambda: _count(counter)) >= 1
    notify(subscription, None)
    publisher.publish(String(data='not heard'))
    reader = Reader(subscription)
    for _ in range(2):
        wait_for(reader.take)  # both have come by now
    assert _count(counter) == 0
    os.close(counter)


def _count(event_fd: int) -> int:
    try:
        return os.eventfd_read(event_fd)
    except BlockingIOError:
        return 0


def test_others_run_while_one_takes(node: Node) -> None:
    """The copy of a large image must not hold the GIL."""
    topic = 'images'
    intake = Intake()
    subscription = node.create_subscription(
        ByteMultiArray, topic, lambda _: None, QOS, raw=True, callback_group=intake.group
    )
    publisher = node.create_publisher(ByteMultiArray, topic, QOS)
    wait_for(publisher.get_subscription_count)
    message = serialize_message(ByteMultiArray(data=[bytes(1)] * 50_000))
    reader, ran, done = Reader(subscription), 0, threading.Event()

    def count() -> None:
        nonlocal ran
        while not done.is_set():
            ran += 1

    other = threading.Thread(target=count)
    other.start()
    for _ in range(20):
        publish(publisher, message)
        assert len(wait_for(reader.take)) == len(message)
    done.set()
    other.join()
    assert ran > 0


@pytest.mark.parametrize('threads', [1, 2, 5])  # one for all, one for some, more than topics
def test_the_intake_takes_in_turn_and_the_executor_leaves_it_alone(
    node: Node, threads: int
) -> None:
    intake, got = Intake(threads), []
    publishers = []
    for name in ('front', 'left', 'rear'):
        subscription = node.create_subscription(
            String, name, lambda _: got.append(('executor', '')), QOS, raw=True,
            callback_group=intake.group,
        )

        def on_message(message: memoryview, name: str = name) -> None:
            got.append((name, deserialize_message(bytes(message), String).data))

        intake.add(subscription, on_message)
        publishers.append((name, node.create_publisher(String, name, QOS)))
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    for _, publisher in publishers:
        wait_for(publisher.get_subscription_count)
    for text in ('1', '2'):  # before it starts: they wait
        for _, publisher in publishers:
            publisher.publish(String(data=text))
    intake.start()
    wait_for(lambda: executor.spin_once(timeout_sec=0.01) or len(got) == 6)
    for name in ('front', 'left', 'rear'):  # a topic's own messages come in order
        assert [text for topic, text in got if topic == name] == ['1', '2']
    publishers[0][1].publish(String(data='3'))
    wait_for(lambda: executor.spin_once(timeout_sec=0.01) or len(got) == 7)
    intake.stop()
    publishers[0][1].publish(String(data='4'))
    executor.spin_once(timeout_sec=0.1)
    assert len(got) == 7
    executor.shutdown()


def test_an_error_of_the_middleware_costs_no_later_message(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake, got, refused = Intake(), [], []
    take = Reader.take

    def refuse_once(self: Reader) -> memoryview | None:
        if not refused:
            refused.append(True)
            raise RuntimeError('cannot take a message: out of luck')
        return take(self)

    monkeypatch.setattr(Reader, 'take', refuse_once)
    subscription = node.create_subscription(
        String, 'words', lambda _: None, QOS, raw=True, callback_group=intake.group
    )
    intake.add(subscription, lambda message: got.append(bytes(message)))
    publisher = node.create_publisher(String, 'words', QOS)
    wait_for(publisher.get_subscription_count)
    intake.start()
    publisher.publish(String(data='after'))
    wait_for(lambda: got)
    assert refused and deserialize_message(got[0], String).data == 'after'
    intake.stop()


def test_where_the_middleware_cannot_count_the_executor_takes(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('perception_ros.ros.intake.notify', lambda subscription, event_fd: False)
    intake, got = Intake(), []
    subscription = node.create_subscription(
        String, 'words', got.append, QOS, raw=True, callback_group=intake.group
    )
    intake.add(subscription, got.append)
    intake.start()
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)
    publisher = node.create_publisher(String, 'words', QOS)
    wait_for(publisher.get_subscription_count)
    publisher.publish(String(data='still heard'))
    wait_for(lambda: executor.spin_once(timeout_sec=0.01) or got)
    assert deserialize_message(got[0], String).data == 'still heard'
    intake.stop()
    executor.shutdown()
