"""Engines that change under a running node: frames go on, and whoever reads diagnostics knows."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import threading
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from vision_msgs.msg import Detection2DArray

from test.builders import write_real_bundle
from test.device import Device
from test.nodes.bench import Bench, image, wait_until

pytestmark = pytest.mark.dds


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means').path


@pytest.fixture
def bench(bundle: Path) -> Iterator[Bench]:
    made = Bench(bundle)
    yield made
    made.close()


class Road:
    """A running node with one camera, whose results and health are listened to."""

    def __init__(self, bench: Bench, **parameters: Any) -> None:
        bench.launch(
            'front', models__means__backend='device', models__means__fallback='fake', **parameters
        )
        bench.active()
        self.boxes = bench.listen(Detection2DArray, '/perception/front/detections')
        self._diagnostics = bench.listen(DiagnosticArray, '/diagnostics')
        self._camera = bench.camera('front')
        self._stamp = 0

    def drive(self) -> int:
        """Send one frame and return its stamp."""
        self._stamp += 1
        self._camera.publish(image(self._stamp))
        return self._stamp

    def is_answered(self, stamp: int) -> bool:
        return any(message.header.stamp.sec == stamp for message in self.boxes)

    def wait_for_status(self, *parts: str, level: bytes) -> DiagnosticStatus:
        """Return a status of the model that comes from now on and says all of this."""
        seen = len(self._diagnostics)
        found: list[DiagnosticStatus] = []

        def look() -> bool:
            found.extend(
                status
                for message in self._diagnostics[seen:]
                for status in message.status
                if status.name.endswith('model means')
                and status.level == level
                and all(part in status.message for part in parts)
            )
            return bool(found)

        wait_until(look)
        return found[0]


def test_an_engine_that_fails_on_the_road_is_stood_in_for(
    bench: Bench, device: Device, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Frames before and after it come out; what the failing runs cost is counted."""
    summary = tmp_path / 'summary.json'
    road = Road(bench, summary_file=str(summary))
    before = road.drive()
    wait_until(lambda: road.is_answered(before))
    road.wait_for_status('on device cpu', level=DiagnosticStatus.OK)

    device.engines[0].fails = True
    assert bench.node and bench.node._pipeline
    dropped = bench.node._pipeline.statistics.snapshot
    for failed in range(1, 4):
        road.drive()
        wait_until(lambda n=failed: dropped()['frames_dropped'].get('failed') == n)
    wait_until(lambda: device.engines[0].closed)

    after = road.drive()
    wait_until(lambda: road.is_answered(after))
    assert not any(road.is_answered(stamp) for stamp in range(before + 1, after))
    status = road.wait_for_status('device failed 3 times in a row', level=DiagnosticStatus.WARN)
    values = {item.key: item.value for item in status.values}
    assert values['backend'] == 'fake'
    assert 'the device is gone' in values['degraded_by']
    assert values['degraded_since'].startswith('20')
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    [model] = json.loads(summary.read_text())['models']
    assert 'device failed 3 times in a row' in model['degradation']
    assert capfd.readouterr().err.count('device failed 3 times in a row') == 1


def test_frames_are_answered_while_the_preferred_engine_is_being_opened(
    bench: Bench, device: Device
) -> None:
    device.ready.clear()
    road = Road(bench, models__means__build='background')
    during = road.drive()
    wait_until(lambda: road.is_answered(during))
    road.wait_for_status('device is being opened', level=DiagnosticStatus.WARN)

    device.ready.set()
    road.wait_for_status('on device cpu', level=DiagnosticStatus.OK)
    after = road.drive()
    wait_until(lambda: road.is_answered(after))
    assert device.engines[0].calls[-1] == 1


def test_a_node_that_is_cleaned_up_meanwhile_does_not_wait_and_leaves_nothing(
    bench: Bench, device: Device
) -> None:
    """Twice: what was begun in the first life must not reach the second."""
    device.ready.clear()
    road = Road(bench, models__means__build='background')
    assert bench.transition(Transition.TRANSITION_DEACTIVATE)
    assert bench.transition(Transition.TRANSITION_CLEANUP)
    assert not device.engines
    bench.active()
    device.ready.set()
    wait_until(lambda: len(device.engines) == 2)
    wait_until(lambda: 'open device' not in [thread.name for thread in threading.enumerate()])
    assert sorted(engine.closed for engine in device.engines) == [0, 1]
    stamp = road.drive()
    wait_until(lambda: road.is_answered(stamp))


def test_a_fallback_that_is_no_backend_is_refused_at_configure(
    bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.launch('front', models__means__fallback='abacus')
    assert not bench.transition(Transition.TRANSITION_CONFIGURE)
    assert "backend 'abacus': expected auto, tensorrt" in capfd.readouterr().err
