"""
Gives every interpreter of the virtual environment the variables that ROS 2 needs.

The set-up copies this file into the environment and imports it from a ``.pth`` file, so the make
targets, the tests, their subprocesses and a user who types ``.venv/bin/perception_node`` all get
the same. The loader reads LD_LIBRARY_PATH only when a process starts, hence one ``exec``. The
ROS 2 wheels bring a start-up file that does as much, but it keeps a flag in place of looking:
a child in another environment would inherit the first one's libraries. This one looks.
"""

import glob
import os
import sys

_ATTEMPT = '_PERCEPTION_ROS_ENVIRONMENT_ATTEMPT'


def _entries(variable: str) -> list[str]:
    return [entry for entry in os.environ.get(variable, '').split(os.pathsep) if entry]


def _apply() -> None:
    prefixes = _entries('AMENT_PREFIX_PATH')
    if sys.prefix not in prefixes:
        # Last, so that a workspace built on top of this environment keeps coming first.
        os.environ['AMENT_PREFIX_PATH'] = os.pathsep.join([*prefixes, sys.prefix])
    os.environ['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'

    # The wheels' own third-party libraries lie beside the packages; their names hold a hash.
    site_packages = os.path.dirname(os.path.abspath(__file__))
    vendored = sorted(glob.glob(os.path.join(glob.escape(site_packages), 'ros_*.libs')))
    ours = [os.path.join(sys.prefix, 'lib'), *vendored]
    inherited = _entries('LD_LIBRARY_PATH')
    if inherited[:len(ours)] == ours:
        return
    # Where something keeps taking the variable away, once must do: exec keeps the process id.
    attempt = f'{os.getpid()} {sys.prefix}'
    if os.environ.get(_ATTEMPT) == attempt:
        return
    os.environ[_ATTEMPT] = attempt
    os.environ['LD_LIBRARY_PATH'] = os.pathsep.join(
        ours + [entry for entry in inherited if entry not in ours])
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


_apply()
