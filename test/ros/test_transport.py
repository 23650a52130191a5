"""The profile of Fast DDS: whether it does what it is for, and who runs with it."""

from __future__ import annotations

from collections.abc import Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree

import pytest

from perception_ros.ros.domain import free_domain, private_environment
from perception_ros.ros.transport import (
    abandoned_bytes,
    profile_defect,
    profile_environment,
    profile_variable,
    running_nodes,
    SHARED_MEMORY,
    SHARED_MEMORY_BYTES,
)

PROFILE = Path(__file__).parents[2] / 'config' / 'fastdds.xml'


def test_the_shipped_profile_has_room_for_all_cameras() -> None:
    """Three images of each of eight cameras of 1920x1080 bgr8, and one of 32 MiB, on their way."""
    assert profile_defect(PROFILE) == ''
    sizes = {
        element.tag.rpartition('}')[2]: int(element.text or 0)
        for element in ElementTree.parse(PROFILE).iter()
        if 'ize' in element.tag
    }
    assert sizes['segment_size'] >= 3 * 8 * 1920 * 1080 * 3
    assert sizes['segment_size'] >= sizes['maxMessageSize'] >= 32 << 20
    assert 3 * sizes['segment_size'] <= SHARED_MEMORY_BYTES


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('<dds><profiles>', 'is no XML: no element found'),
        ('<dds/>', 'gives no segment_size to a shared-memory transport'),
        ('<dds xmlns="x"><segment_size>9999999999999</segment_size></dds>',
         'promises 9536743 MiB of shared memory to each process'),
        (None, 'cannot be read: No such file or directory'),
    ],
    ids=['cut off', 'of something else', 'too large', 'not there'],
)
def test_a_profile_that_does_not_help_is_known(
    tmp_path: Path, text: str | None, expected: str
) -> None:
    path = tmp_path / 'profile.xml'
    if text is not None:
        path.write_text(text)
    assert profile_defect(path).startswith(expected)


def test_each_distribution_has_its_own_variable() -> None:
    assert profile_variable({}) == 'FASTDDS_DEFAULT_PROFILES_FILE'
    assert profile_variable({'ROS_DISTRO': 'humble'}) == 'FASTRTPS_DEFAULT_PROFILES_FILE'
    assert set(profile_environment({'ROS_DISTRO': 'humble'})) <= {'FASTRTPS_DEFAULT_PROFILES_FILE'}


@pytest.fixture
def process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start what looks like the node to other processes, as colcon installs it."""
    script = tmp_path / 'perception_node'
    script.write_text('import time; time.sleep(60)')
    environment = {**os.environ, 'RMW_IMPLEMENTATION': 'rmw_fastrtps_cpp'}
    environment.pop('ROS_DISTRO', None)
    environment['FASTDDS_DEFAULT_PROFILES_FILE'] = '/a/profile.xml'
    started = subprocess.Popen([sys.executable, script, '--ros-args'], env=environment)
    yield started
    started.kill()
    started.wait()


@pytest.mark.skipif(not Path('/proc/self/environ').exists(), reason='needs the /proc of Linux')
def test_a_running_node_tells_its_profile(process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    found = None
    while found is None and time.monotonic() < deadline:
        found = next((node for node in running_nodes() if node.pid == process.pid), None)
    assert found is not None
    assert (found.rmw, found.profile) == ('rmw_fastrtps_cpp', '/a/profile.xml')


def segments(pid: int, folder: Path) -> Path:
    """Return a folder with the segments that a process uses, and with no other process's."""
    folder.mkdir()
    maps = Path(f'/proc/{pid}/maps').read_text().splitlines()
    for name in {line.rpartition('/')[2] for line in maps if f'{SHARED_MEMORY}/fastdds_' in line}:
        (folder / name).symlink_to(SHARED_MEMORY / name)
        (folder / f'{name}_el').symlink_to(SHARED_MEMORY / f'{name}_el')
    return folder


@pytest.mark.dds
@pytest.mark.skipif(not Path('/proc/locks').exists(), reason='needs the /proc of Linux')
@pytest.mark.parametrize(
    ('number', 'left'), [(signal.SIGKILL, True), (signal.SIGTERM, False)], ids=['killed', 'ended']
)
def test_a_node_leaves_its_segment_only_if_it_is_killed(
    tmp_path: Path, number: signal.Signals, left: bool
) -> None:
    """Those that are left fill the memory of a machine, and only doctor tells of them."""
    pytest.importorskip('rclpy', reason='needs rclpy')
    domain = free_domain()
    log = (tmp_path / 'log').open('w')
    process = subprocess.Popen(
        [sys.executable, '-m', 'perception_ros.nodes.perception_node', '--ros-args', '-p',
         'autostart:=true'],  # without cameras: it says so, and waits
        env={**private_environment(domain), profile_variable(): str(PROFILE)},
        stdout=log, stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 30
        while 'cannot configure' not in (said := (tmp_path / 'log').read_text()):
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        mine = segments(process.pid, tmp_path / 'segments')
        assert abandoned_bytes(folder=mine) == 0
        assert any(mine.iterdir())
        process.send_signal(number)
        process.wait(30)
        assert (abandoned_bytes(folder=mine) > 100 << 20) == left
    finally:
        process.kill()
        process.wait()
        log.close()
        for path in (tmp_path / 'segments').glob('*'):
            path.resolve().unlink(missing_ok=True)
