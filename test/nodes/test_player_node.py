"""The player as a process of its own, heard over real DDS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from perception_ros.ros.domain import free_domain, private_environment
from perception_ros.ros.messages import (
    from_compressed_message,
    from_image_message,
    to_nanoseconds,
)
from perception_ros.ros.qos import make_qos
from test.bags.build import MAKERS, noise, two_cameras

pytestmark = pytest.mark.dds

CAMERAS = ('front_left', 'front', 'front_right')


class Listener:
    """Subscribes to topics in a domain of its own and keeps what comes."""

    def __init__(self, domain: int) -> None:
        self.messages: dict[str, list[Any]] = {}
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain)
        self._node = rclpy.create_node('listener', context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def listen(self, message_type: type, *topics: str) -> None:
        for topic in topics:
            self.messages[topic] = []
            self._node.create_subscription(
                message_type, topic, self.messages[topic].append, make_qos('reliable', 100)
            )

    def stamps_ns(self, topic: str) -> list[int]:
        return [to_nanoseconds(message.header.stamp) for message in self.messages[topic]]

    def spin(self, until: Callable[[], object], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < deadline, {k: len(v) for k, v in self.messages.items()}
            self._executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)


class Player:
    """Starts player processes and ends them with the test."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.report = folder / 'report.json'
        self._environment = environment
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, **parameters: object) -> subprocess.Popen[str]:
        arguments = [sys.executable, '-m', 'perception_ros.nodes.player_node', '--ros-args']
        for name, value in {'report': self.report, **parameters}.items():
            arguments += ['-p', f'{name}:={value}']
        process = subprocess.Popen(
            arguments,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._processes.append(process)
        return process

    def counts(self, fate: str) -> dict[str, int]:
        cameras = json.loads(self.report.read_text())['cameras']
        return {name: counts[fate] for name, counts in cameras.items()}

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    domain = free_domain()
    for name, value in private_environment(domain, {}).items():
        monkeypatch.setenv(name, value)
    listener = Listener(domain)
    yield listener
    listener.close()


@pytest.fixture
def player(tmp_path: Path, listener: Listener) -> Iterator[Player]:
    # after the listener, whose domain is in the environment by now
    player = Player(tmp_path, dict(os.environ))
    yield player
    player.close()


@pytest.fixture
def still(tmp_path: Path) -> Path:
    path = tmp_path / 'still.png'
    ramp = np.linspace(0, 255, 320).astype(np.uint8)
    cv2.imwrite(str(path), np.dstack([np.tile(ramp, (180, 1))] * 3))
    return path


def test_every_frame_of_a_still_arrives_with_its_camera_info(
    listener: Listener, player: Player, still: Path
) -> None:
    images = {name: f'/{name}/image_raw' for name in CAMERAS}
    infos = {name: f'/{name}/camera_info' for name in CAMERAS}
    listener.listen(Image, *images.values())
    listener.listen(CameraInfo, *infos.values())
    process = player.start(
        input=still, frames=12, rate_hz=5, wait_for_subscribers=1, horizontal_fov_deg=90.0
    )
    listener.spin(until=lambda: process.poll() is not None)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    listener.spin(until=lambda: all(len(got) == 12 for got in listener.messages.values()))
    assert player.counts('published') == dict.fromkeys(CAMERAS, 12)

    stamps = listener.stamps_ns(images['front'])
    assert np.median(np.diff(stamps)) == 200_000_000, 'steady to the nanosecond, but for stalls'
    for name in CAMERAS:
        assert listener.stamps_ns(images[name]) == stamps, 'one set, one stamp'
        assert listener.stamps_ns(infos[name]) == stamps
        message, info = listener.messages[images[name]][0], listener.messages[infos[name]][0]
        assert (message.encoding, message.width, message.height) == ('bgr8', 200, 112)
        assert message.header.frame_id == info.header.frame_id == f'{name}_optical_frame'
        assert (info.width, info.height) == (200, 112)
        assert info.k[0] == pytest.approx(100)
        assert (info.k[2], info.k[5]) == (99.5, 55.5)
        assert from_image_message(message).rgb().shape == (112, 200, 3)


def test_compressed_cameras_of_a_folder_with_one_that_goes_away(
    listener: Listener, player: Player, tmp_path: Path
) -> None:
    rig = tmp_path / 'rig'
    rig.mkdir()
    for name, value in {'CAM_A': 60, 'CAM_B': 160}.items():
        cv2.imwrite(str(rig / f'{name}.png'), np.full((48, 64, 3), value, np.uint8))
    topics = {name: f'/{name}/image_raw/compressed' for name in ('CAM_A', 'CAM_B')}
    listener.listen(CompressedImage, *topics.values())
    process = player.start(
        input=rig,
        frames=20,
        rate_hz=5.0,  # slow enough for a busy machine to keep to
        wait_for_subscribers=1,
        transport='compressed',
        jitter_ms=10.0,
        outage_camera='CAM_B',
        outage_from_s=1.0,
        outage_for_s=2.0,
    )
    listener.spin(until=lambda: process.poll() is not None)
    listener.spin(until=lambda: len(listener.messages[topics['CAM_B']]) == 10)
    assert player.counts('published') == {'CAM_A': 20, 'CAM_B': 10}
    assert player.counts('away') == {'CAM_A': 0, 'CAM_B': 10}
    listener.spin(until=lambda: len(listener.messages[topics['CAM_A']]) == 20)
    image = from_compressed_message(listener.messages[topics['CAM_B']][0])
    assert image.encoding == 'jpeg'
    assert abs(float(image.rgb().mean()) - 160) < 3
    gaps_ms = np.diff(listener.stamps_ns(topics['CAM_B'])) / 1e6
    assert gaps_ms.max() >= 2190, 'away for ten sets'
    others_ms = np.delete(gaps_ms, gaps_ms.argmax())
    assert np.median(others_ms) == pytest.approx(200, abs=10), 'a stall moves a few, not most'
    assert others_ms.std() > 0.1, 'jitter'


def test_the_cameras_of_a_bag(listener: Listener, player: Player, tmp_path: Path) -> None:
    topics = {name: f'/{name}/image_raw' for name in ('front', 'rear')}
    listener.listen(Image, *topics.values())
    bag = MAKERS['mcap'](tmp_path, two_cameras(6))
    process = player.start(
        input=bag, loop=False, encoding='rgb8', rate_hz=5.0, wait_for_subscribers=1
    )
    listener.spin(until=lambda: process.poll() is not None)
    listener.spin(until=lambda: all(len(got) == 3 for got in listener.messages.values()))
    for place, topic in enumerate(topics.values()):
        for i, message in enumerate(listener.messages[topic]):
            seen = from_image_message(message).rgb()
            assert np.array_equal(seen, noise(2 * i + place)), 'every pixel as it was recorded'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['SIGINT', 'SIGTERM'])
@pytest.mark.parametrize('waiting', [0, 1], ids=['playing', 'waiting'])
def test_a_signal_ends_it_cleanly(
    player: Player, listener: Listener, still: Path, number: signal.Signals, waiting: int
) -> None:
    process = player.start(input=still, rate_hz=50.0, wait_for_subscribers=waiting)
    assert process.stdout is not None
    assert 'playing still.png as front_left, front, front_right' in process.stdout.readline()
    time.sleep(0.5)
    process.send_signal(number)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 0, output
    assert 'Traceback' not in output
    published = set(player.counts('published').values())
    assert published == {0} if waiting else min(published) > 5


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        pytest.param({'input': 'nowhere'}, 'nothing to play at nowhere', id='no such input'),
        pytest.param({}, 'input: String should have at least 1 character', id='no input'),
        pytest.param(
            {'input': 'x', 'rate_hz': 5000.0},
            'rate_hz: 5000.0 is out of range: expected 0.01 to 1000.0',
            id='out of range',
        ),
        pytest.param({'input': 'x', 'rate_hz': 'fast'}, 'rate_hz: expected float', id='type'),
        pytest.param({'input': 'x', 'rate': 5}, "did you mean 'rate_hz'?", id='unknown'),
        pytest.param({'input': 'x', 'transport': 'zip'}, "'raw' or 'compressed'", id='choice'),
    ],
)
def test_wrong_parameters_end_it_with_a_reason(
    player: Player, listener: Listener, parameters: dict[str, object], message: str
) -> None:
    process = player.start(**parameters)
    output, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert message in output
    assert 'Traceback' not in output
