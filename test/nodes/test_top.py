"""`perception_ros top` beside a real node over real DDS, and in a real terminal."""

from __future__ import annotations

from collections.abc import Iterator
import fcntl
import json
import os
from pathlib import Path
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from typing import Any

from lifecycle_msgs.msg import Transition
import pytest
from vision_msgs.msg import Detection2DArray

from test.builders import write_real_bundle
from test.nodes.bench import Bench, image, wait_until
from test.processes import hear_ctrl_c

COMMAND = (sys.executable, '-c', 'from perception_ros.cli.main import main; main()', 'top')


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(write_real_bundle(tmp_path / 'means').path)
    yield made
    made.close()


@pytest.fixture
def busy(bench: Bench) -> Iterator[Bench]:
    """Return a node with a camera that works and one that is silent."""
    bench.launch('front', 'left')
    bench.active()
    bench.listen(Detection2DArray, '/perception/front/detections')
    camera = bench.camera('front')
    over = threading.Event()

    def play() -> None:
        stamp_s = 0
        while not over.wait(0.05):
            stamp_s += 1
            camera.publish(image(stamp_s))

    thread = threading.Thread(target=play)
    thread.start()
    yield bench
    over.set()
    thread.join()


def environment(bench: Bench) -> dict[str, str]:
    return {**os.environ, 'ROS_DOMAIN_ID': str(bench.domain), 'COLUMNS': '120'}


def top(bench: Bench, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(bench), capture_output=True, text=True, timeout=60
    )


def test_a_second_as_json(busy: Bench) -> None:
    """A script that watches a fleet reads this."""
    done = top(busy, '--once', '--json')
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    front, left = told['cameras']['front'], told['cameras']['left']
    assert front['received'] > 0 and front['results'] > 0
    times = front['latency']
    assert 0 < times['infer']['p50_ms'] <= times['total']['max_ms']
    assert left['level'] == 'error' and 'nobody publishes /left/image_raw' in left['text']
    model = told['models']['means']
    assert (model['backend'], model['device'], model['batch']) == ('fake', 'cpu', 1.0)
    assert model['engine_calls'] == model['inferred'] > 0
    assert told['process']['threads'] > 3 and 'health' in told['process']['cpu_cores_by_thread']
    assert told['machine']['memory_mb'] > 100
    assert told['gpus'] or told['no_gpu']


def test_tables_for_people(busy: Bench) -> None:
    done = top(busy, '--once', '--camera', 'front')
    assert done.returncode == 0, done.stderr
    for what in ('front', 'left', 'synchronize', 'p99', 'means', 'fake', 'cores', 'machine'):
        assert what in done.stdout
    assert top(busy, '--once').stdout.count('front') == 2, 'its rate, and its stages'
    wrong = top(busy, '--camera', 'rear')
    assert wrong.returncode == 1 and 'expected one of front, left' in wrong.stderr


def test_it_lives_in_a_terminal_until_ctrl_c(busy: Bench) -> None:
    """It draws each second anew, and leaves the terminal as it was."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack('HHHH', 40, 120, 0, 0))
    process = subprocess.Popen(
        [*COMMAND], env={**environment(busy), 'TERM': 'xterm'}, stdin=its, stdout=its, stderr=its,
        start_new_session=True, preexec_fn=hear_ctrl_c,
    )
    os.close(its)
    seen = bytearray()

    def read() -> None:
        while True:
            try:
                seen.extend(os.read(ours, 1 << 16))
            except OSError:  # the process has closed its end
                return

    reader = threading.Thread(target=read, daemon=True)  # a failure must not keep pytest
    reader.start()
    try:
        wait_until(lambda: seen.count(b'domain') >= 3, 40)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    reader.join()
    os.close(ours)
    assert b'front' in seen and b'Traceback' not in seen
    assert seen.rstrip().endswith((b'\x1b[?1049l\x1b[?25h', b'\x1b[?25h\x1b[?1049l'))


def test_a_node_that_is_not_heard_is_told_with_what_to_do(bench: Bench) -> None:
    done = top(bench, '--wait', '1')
    assert done.returncode == 1
    assert f'ROS_DOMAIN_ID {bench.domain}' in done.stderr
    bench.launch('front')
    assert bench.transition(Transition.TRANSITION_CONFIGURE)
    done = top(bench, '--wait', '8')
    assert done.returncode == 1 and 'configured and not active' in done.stderr
    assert bench.transition(Transition.TRANSITION_ACTIVATE)
    done = top(bench, '/elsewhere', '--wait', '8')
    assert done.returncode == 1 and 'name one of /perception' in done.stderr
