"""A node that is told to end while it opens an engine, which takes minutes for some."""

from __future__ import annotations

from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from perception_ros.ros.domain import free_domain, private_environment
from test.builders import write_real_bundle

pytestmark = pytest.mark.dds

NODE = """
import sys, time, types
from perception_ros.backends import Backend, BACKENDS
from perception_ros.core.errors import BackendError
from perception_ros.nodes import perception_node, signals

def open_bundle(bundle, options):
    print('opening', flush=True)
    {opening}
    raise BackendError('given up')

sys.modules['slow'] = types.SimpleNamespace(open_bundle=open_bundle)
BACKENDS['slow'] = Backend('slow')
signals.END_S = {end_s}
sys.exit(perception_node.main())
"""


@pytest.mark.parametrize(
    ('opening', 'end_s', 'status', 'says'),
    [
        ('options.cancel.wait(60)', 30, 0, 'given up'),
        ('time.sleep(60)', 0.5, 130, 'not ended 0.5 s after SIGINT; ending without cleaning up'),
    ],
    ids=['a build that can be cancelled', 'a build that cannot'],
)
def test_a_long_configure_does_not_hold_up_the_end(
    tmp_path: Path, opening: str, end_s: float, status: int, says: str
) -> None:
    bundle = write_real_bundle(tmp_path / 'means')
    parameters = {
        'camera_names': '[front]',
        'model_names': '[means]',
        'models.means.bundle': bundle.path,
        'models.means.backend': 'slow',
        'autostart': 'true',
    }
    given = [word for name, value in parameters.items() for word in ('-p', f'{name}:={value}')]
    process = subprocess.Popen(
        [sys.executable, '-c', NODE.format(opening=opening, end_s=end_s), '--ros-args', *given],
        env=private_environment(free_domain()),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == 'opening\n'
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == status, said
    assert says in said
    assert 'Traceback' not in said
