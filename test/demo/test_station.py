"""Lifecycle changes over a transport that may lose an answer, as DDS does when it is new."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future

from perception_ros.demo import station
from perception_ros.demo.processes import DemoError
from perception_ros.demo.station import Station
from perception_ros.ros.domain import free_domain

pytestmark = pytest.mark.dds


class Node:
    """Something with the services of the perception node's lifecycle."""

    def __init__(self, domain: int) -> None:
        self.state = State.PRIMARY_STATE_UNCONFIGURED
        self.refuses = False
        self.asked = 0
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        node = rclpy.create_node(
            'perception_node', namespace='/perception', context=self._context
        )
        node.create_service(ChangeState, '~/change_state', self._change)
        node.create_service(GetState, '~/get_state', self._get)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._thread = Thread(target=self._executor.spin)
        self._thread.start()

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join()
        rclpy.shutdown(context=self._context)

    def _change(self, request: Any, response: Any) -> Any:
        self.asked += 1
        is_right = request.transition.id == Transition.TRANSITION_CONFIGURE
        response.success = (
            is_right and self.state == State.PRIMARY_STATE_UNCONFIGURED and not self.refuses
        )
        if response.success:
            self.state = State.PRIMARY_STATE_INACTIVE
        return response

    def _get(self, request: Any, response: Any) -> Any:
        response.current_state.id = self.state
        return response


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Node, Station]]:
    monkeypatch.setattr(station, '_ANSWER_S', 0.2)
    domain = free_domain()
    node = Node(domain)
    try:
        with Station('station', domain, lambda: None) as made:
            yield node, made
    finally:
        node.close()


def lose(made: Station, monkeypatch: pytest.MonkeyPatch, *, is_heard: bool) -> None:
    """Lose the first answer, and with it the request if it is not heard."""
    ask = made._change_state.call_async
    lost: list[Future] = []

    def first(request: Any) -> Future:
        if lost:
            return ask(request)
        lost.append(Future())
        if is_heard:
            ask(request)
        return lost[0]

    monkeypatch.setattr(made._change_state, 'call_async', first)


@pytest.mark.parametrize('is_heard', [True, False], ids=['an answer', 'a request'])
def test_what_is_lost_on_the_way_is_found_out(
    both: tuple[Node, Station], monkeypatch: pytest.MonkeyPatch, is_heard: bool
) -> None:
    """Once in many starts one waited for minutes for an answer that had been given."""
    node, made = both
    lose(made, monkeypatch, is_heard=is_heard)
    made.change_state('configure', 20)
    assert (node.state, node.asked) == (State.PRIMARY_STATE_INACTIVE, 1)


@pytest.mark.parametrize('is_lost', [True, False])
def test_a_refusal_is_told(
    both: tuple[Node, Station], monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    node, made = both
    node.refuses = True
    if is_lost:
        lose(made, monkeypatch, is_heard=True)
    with pytest.raises(DemoError, match='cannot configure'):
        made.change_state('configure', 20)
    assert node.asked == (2 if is_lost else 1)
