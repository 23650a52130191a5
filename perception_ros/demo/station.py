"""A ROS node of one's own beside the perception node: drives its lifecycle, and waits for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
import time
from typing import Any

from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState

from perception_ros.demo.processes import DemoError
from perception_ros.ros.apart import NodeApart

_NODE = '/perception/perception_node'

Check = Callable[[], None]
"""Called while waiting; raises when it is pointless to wait on."""

TRANSITIONS = {
    'configure': Transition.TRANSITION_CONFIGURE,
    'activate': Transition.TRANSITION_ACTIVATE,
    'deactivate': Transition.TRANSITION_DEACTIVATE,
    'cleanup': Transition.TRANSITION_CLEANUP,
}
_REACHED = {
    'configure': State.PRIMARY_STATE_INACTIVE,
    'activate': State.PRIMARY_STATE_ACTIVE,
    'deactivate': State.PRIMARY_STATE_INACTIVE,
    'cleanup': State.PRIMARY_STATE_UNCONFIGURED,
}
_RESTING = frozenset({*_REACHED.values(), State.PRIMARY_STATE_FINALIZED})
_ANSWER_S = 5.0
"""An answer is lost where DDS has not yet matched who asked: after so long one looks."""


class Station(NodeApart):
    """A node apart that drives the perception node. A context manager."""

    def __init__(self, name: str, domain: int, check: Check) -> None:
        super().__init__(name, domain)
        self._check = check
        self._change_state: Any = self._node.create_client(ChangeState, f'{_NODE}/change_state')
        self._get_state: Any = self._node.create_client(GetState, f'{_NODE}/get_state')

    def change_state(self, transition: str, timeout_s: float) -> None:
        """Take the perception node through a transition of `TRANSITIONS`.

        :raises DemoError: it is not there, or refuses.
        """
        deadline = time.monotonic() + timeout_s
        for client in (self._change_state, self._get_state):
            while not client.service_is_ready():
                self._wait(deadline, f'{_NODE} did not appear within {timeout_s:g} s')
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
        asked = [self._change_state.call_async(request)]
        looked: Any = None
        looked_s = time.monotonic()
        while True:
            answers = [future.result() for future in asked if future.done()]
            if any(answer and answer.success for answer in answers):
                return
            state = looked.result().current_state.id if looked and looked.done() else None
            if state == _REACHED[transition]:
                return  # and the answer was lost
            if answers and (len(asked) == 1 or state in _RESTING):
                raise DemoError(f'{_NODE} cannot {transition}')
            if state in _RESTING:
                asked.append(self._change_state.call_async(request))
            if state is not None:
                looked = None
            if time.monotonic() - looked_s > _ANSWER_S:
                looked, looked_s = self._get_state.call_async(GetState.Request()), time.monotonic()
            self._wait(deadline, f'{_NODE} took longer than {timeout_s:g} s to {transition}')

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
