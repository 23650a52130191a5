"""A camera that goes away and comes back: what the others, the record and the planner see of it.

The player is a process of its own, as on a vehicle; the images travel over real DDS.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
import os
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from vision_msgs.msg import Detection2DArray

from perception_ros.ros.domain import private_environment
from perception_ros.ros.messages import to_nanoseconds
from test.builders import picture, write_real_bundle
from test.nodes.bench import Bench, wait_until

pytestmark = pytest.mark.dds

CAMERAS = ('left', 'front', 'right')
HZ, SETS = 30, 240
AWAY_FROM_S, AWAY_FOR_S = 2.0, 4.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(write_real_bundle(tmp_path / 'means').path)
    yield made
    made.close()


def test_camera_away_for_four_seconds_at_thirty_hertz(
    bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    bench.launch(
        *CAMERAS,
        # Nothing may be superseded, nor a set cut short, because this machine is busy.
        queue_depth=30,
        max_age_ms=10_000.0,
        synchronizer__max_wait_ms=500.0,
        **{f'cameras__{name}__queue_depth': 100 for name in CAMERAS},
    )
    bench.active()
    boxes = {c: bench.listen(Detection2DArray, f'/perception/{c}/detections') for c in CAMERAS}
    health = bench.listen(DiagnosticArray, '/diagnostics')
    with player(tmp_path, bench.domain) as process:
        assert process.wait(60) == 0
    assert bench.node and bench.node._pipeline
    counters = bench.node._pipeline.statistics.snapshot

    gone = round(HZ * AWAY_FOR_S)
    wait_until(lambda: all(len(boxes[name]) == SETS for name in ('left', 'right')))
    wait_until(lambda: len(boxes['front']) == SETS - gone)
    assert counters()['frames_dropped'] == {}, 'the others keep their full rate'
    # Sets that waited in vain are counted, those that left without waiting too.
    assert counters()['frames_missing'].keys() == {'front'}
    assert abs(counters()['frames_missing']['front'] - gone) <= 2
    assert 'camera front: no frame came' in capfd.readouterr().err

    stamps = {n: [to_nanoseconds(m.header.stamp) for m in heard] for n, heard in boxes.items()}
    back_ns = next(b for a, b in pairwise(stamps['front']) if b - a > 10**9)
    second_ns = stamps['front'][stamps['front'].index(back_ns) + 1]
    # Rejoined: from its second frame on no set is without it, so none is counted any more.
    after = [s for s in stamps['left'] if s >= second_ns]
    assert after == [s for s in stamps['front'] if s >= second_ns]
    told = [
        status.message
        for message in health
        for status in message.status
        if status.name.endswith('camera front')
    ]
    assert any('silent' in text for text in told), 'a planner sees it on /diagnostics'


class player:  # noqa: N801 - used like a function
    """The player node as a process that plays small pictures with the outage."""

    def __init__(self, folder: Path, domain: int) -> None:
        path = folder / 'still.png'
        cv2.imwrite(str(path), np.ascontiguousarray(picture(320, 180, red=(40, 30, 120, 90))))
        values = {
            'input': str(path),
            'cameras': f'[{", ".join(CAMERAS)}]',
            'rate_hz': float(HZ),
            'frames': SETS,
            'wait_for_subscribers': 1,
            'outage_camera': 'front',
            'outage_from_s': AWAY_FROM_S,
            'outage_for_s': AWAY_FOR_S,
            'queue_depth': 100,
        }
        self._arguments = [sys.executable, '-m', 'perception_ros.nodes.player_node', '--ros-args']
        for name, value in values.items():
            self._arguments += ['-p', f'{name}:={value}']
        self._environment = private_environment(domain, os.environ)

    def __enter__(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(self._arguments, env=self._environment)
        return self._process

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        time.sleep(0.1)
