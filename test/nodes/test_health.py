"""The topic `health` of a running node: what planning may rely on now, and since when not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import time
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from vision_msgs.msg import Detection2DArray

from perception_ros.ros.messages import to_nanoseconds
from test.builders import write_real_bundle
from test.device import Device
from test.nodes.bench import Bench, image, wait_until

pytestmark = pytest.mark.dds

SOON_S = 1.0
"""Of `trust_after_s`: no test needs to wait longer."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(write_real_bundle(tmp_path / 'means').path)
    yield made
    made.close()


class Planner:
    """Hears `health` as a planner does: also what was said before it came."""

    def __init__(self, bench: Bench) -> None:
        self.heard: list[DiagnosticArray] = bench.listen(
            DiagnosticArray, '/perception/health', 'transient_local'
        )

    def latest(self, name: str) -> Any:
        [status] = [s for s in self.heard[-1].status if s.name == name] if self.heard else [None]
        return status

    def trusts(self, name: str) -> list[str]:
        """Return the levels of a subject in the order in which they came, each once.

        A busy machine is late now and then, which degrades a camera for a while.
        """
        found = [value(s, 'trust') for m in self.heard for s in m.status if s.name == name]
        firm = [each for each in found if each != 'degraded']
        return [each for i, each in enumerate(firm) if i == 0 or each != firm[i - 1]]

    def has(self, name: str, level: bytes) -> bool:
        status = self.latest(name)
        return status is not None and bool(status.level == level)

    def wait_for(self, name: str, level: bytes) -> Any:
        wait_until(lambda: self.has(name, level))
        return self.latest(name)


def value(status: DiagnosticStatus, key: str) -> str:
    return {pair.key: str(pair.value) for pair in status.values}[key]


class Drive:
    """A camera that sends twenty images a second for as long as something has not come true."""

    def __init__(self, camera: Any) -> None:
        self._camera = camera
        self._stamp_s = 0

    def until(self, condition: Callable[[], object]) -> None:
        deadline_s = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline_s, 'did not happen in time'
            self._stamp_s += 1
            self._camera.publish(image(self._stamp_s))
            time.sleep(0.05)


def test_a_planner_sees_which_camera_it_can_rely_on_and_since_when_not(bench: Bench) -> None:
    bench.launch('front', 'left', trust_after_s=SOON_S)
    bench.active()
    bench.listen(Detection2DArray, '/perception/front/detections')
    planner = Planner(bench)
    drive = Drive(bench.camera('front'))
    drive.until(lambda: all(
        planner.has(name, DiagnosticStatus.OK) for name in ('camera front', 'model means')
    ))
    left = planner.latest('camera left')
    assert (value(left, 'trust'), value(left, 'latest')) == ('untrusted', 'untrusted')
    assert 'nobody publishes' in left.message

    gone = planner.wait_for('camera front', DiagnosticStatus.ERROR)
    assert 'silent' in gone.message
    told = next(m for m in planner.heard if gone in m.status)
    seconds, _, nanoseconds = value(gone, 'since').partition('.')
    since_ns = int(seconds) * 10**9 + int(nanoseconds)
    assert since_ns <= to_nanoseconds(told.header.stamp) < since_ns + 10**9, 'told at once'

    drive.until(lambda: planner.has('camera front', DiagnosticStatus.OK))
    assert planner.trusts('camera front') == ['untrusted', 'trusted', 'untrusted', 'trusted']


def test_it_goes_on_saying_so(bench: Bench) -> None:
    """A planner that hears nothing for a second knows that the node itself is gone."""
    bench.launch('front')
    bench.active()
    planner = Planner(bench)
    wait_until(lambda: len(planner.heard) >= 5)
    stamps = [to_nanoseconds(message.header.stamp) for message in planner.heard[1:]]
    assert (stamps[-1] - stamps[0]) / (len(stamps) - 1) < 10**9


def test_an_inactive_node_tells_late_listeners_that_nothing_counts(bench: Bench) -> None:
    bench.launch('front')
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    planner = Planner(bench)
    status = planner.wait_for('model means', DiagnosticStatus.ERROR)
    assert 'not active' in status.message
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    wait_until(lambda: 'not active' not in planner.latest('camera front').message)
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    wait_until(lambda: 'not active' in planner.latest('camera front').message)
    later = Planner(bench)
    wait_until(lambda: later.heard)
    assert {status.message for status in later.heard[0].status} == {'the node is not active'}


def test_a_model_that_fails_is_not_trusted(bench: Bench, device: Device) -> None:
    """Its cameras may be well: what is missing is an answer."""
    bench.launch('front', trust_after_s=SOON_S, models__means__backend='device')
    bench.active()
    bench.listen(Detection2DArray, '/perception/front/detections')
    planner = Planner(bench)
    drive = Drive(bench.camera('front'))
    drive.until(lambda: planner.has('model means', DiagnosticStatus.OK))
    device.engines[0].fails = True
    drive.until(lambda: planner.has('model means', DiagnosticStatus.ERROR))
    assert 'frames/s failed' in planner.latest('model means').message
