"""The environment without a distribution: ROS 2 works in it whatever the shell had set."""

import os
from pathlib import Path
import subprocess
import sys

import pytest

LIBRARIES = str(Path(sys.prefix, 'lib'))
IMPORTS = """
import os
import rclpy
from rclpy.serialization import deserialize_message, serialize_message
from vision_msgs.msg import Detection2D, Detection2DArray
data = serialize_message(Detection2DArray(detections=[Detection2D(id='7')]))
assert deserialize_message(data, Detection2DArray).detections[0].id == '7'
print(os.environ['AMENT_PREFIX_PATH'])
"""

pytestmark = pytest.mark.skipif(
    not list(Path(sys.prefix).glob('lib/python3.*/site-packages/perception_ros_environment.py')),
    reason='ROS 2 is of a distribution')


@pytest.mark.parametrize('variables, prefixes', [
    pytest.param({}, [sys.prefix], id='nothing set'),
    pytest.param({'LD_LIBRARY_PATH': LIBRARIES}, [sys.prefix], id='half of the library path'),
    pytest.param({'LD_LIBRARY_PATH': '/opt/other/lib', '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1'},
                 [sys.prefix], id='child of another environment'),
    pytest.param({'AMENT_PREFIX_PATH': '/ws/install/mine'}, ['/ws/install/mine', sys.prefix],
                 id='below a workspace'),
])
def test_ros_works(variables: dict[str, str], prefixes: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, '-c', IMPORTS], capture_output=True, text=True, timeout=60,
        env={'PATH': os.defpath, **variables})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [':'.join(prefixes)]


def test_start_up_gives_in_where_the_variable_does_not_stay() -> None:
    """An endless exec would hang every command without a word."""
    code = 'import os; print(os.environ["LD_LIBRARY_PATH"])'
    pid_is_kept = (
        'import os, sys\n'
        'os.environ.pop("LD_LIBRARY_PATH")\n'
        f'os.execv(sys.executable, [sys.executable, "-c", {code!r}])')
    done = subprocess.run([sys.executable, '-c', pid_is_kept], capture_output=True, text=True,
                          timeout=60, env={'PATH': os.defpath})
    # The second start is the same process: it does not try again, and says nothing of its own.
    assert 'KeyError' in done.stderr
