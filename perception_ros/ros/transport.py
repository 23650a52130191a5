"""How images travel between processes: Fast DDS's profile, shared memory, and who uses them.

Other middlewares have nothing like the profile and do not look at its variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
import os
from pathlib import Path
import shutil
from xml.etree import ElementTree

from perception_ros.bundles.find import engine_folders

SHARED_MEMORY = Path('/dev/shm')

SHARED_MEMORY_BYTES = 640 << 20
"""Three processes with the profile's 192 MiB each; a process that gets less than it was promised
is killed when it writes."""

PROFILE_VARIABLES = ('FASTDDS_DEFAULT_PROFILES_FILE', 'FASTRTPS_DEFAULT_PROFILES_FILE')
_NODE = 'perception_node'


def profile_environment(base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return what makes Fast DDS use config/fastdds.xml; nothing where there is no room for it."""
    profile = shipped_profile()
    if profile is None or shared_memory()[1] < SHARED_MEMORY_BYTES:
        return {}
    return {profile_variable(base): str(profile)}


def shipped_profile() -> Path | None:
    """Return where config/fastdds.xml lies, which gives images room in shared memory."""
    profiles = (folder.parent / 'config' / 'fastdds.xml' for folder in engine_folders())
    return next((path for path in profiles if path.is_file()), None)


def profile_variable(base: Mapping[str, str] = os.environ) -> str:
    """Return the variable that names Fast DDS's profile to this distribution."""
    # both together make it read the file twice and complain
    return PROFILE_VARIABLES[base.get('ROS_DISTRO') == 'humble']


def shared_memory() -> tuple[int, int]:
    """Return how much shared memory there is, and how much of it is free, in bytes."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return 0, 0
    return usage.total, usage.free


def abandoned_bytes(
    locks: Path = Path('/proc/locks'), folder: Path = SHARED_MEMORY
) -> int:
    """Return how much shared memory is held by Fast DDS's segments that have lost their process.

    A process that is killed leaves its segment behind, and the file `..._el` beside it, which it
    kept locked.
    """
    try:
        lines = locks.read_text().splitlines()
    except OSError:  # no Linux
        return 0
    locked = {line.split()[5].rpartition(':')[2] for line in lines if len(line.split()) > 5}
    found = 0
    for lock in (*folder.glob('fastdds_*_el'), *folder.glob('fastrtps_*_el')):
        with suppress(OSError):  # it has gone
            if str(lock.stat().st_ino) not in locked:
                found += lock.with_name(lock.name.removesuffix('_el')).stat().st_blocks * 512
    return found


def profile_defect(path: Path) -> str:
    """Return why a profile does not let images travel in shared memory; empty: it does."""
    try:
        elements = list(ElementTree.parse(path).iter())
    except OSError as error:
        return f'cannot be read: {error.strerror}'
    except ElementTree.ParseError as error:
        return f'is no XML: {error}'
    sizes = [e.text or '' for e in elements if e.tag.rpartition('}')[2] == 'segment_size']
    largest = max((int(size) for size in sizes if size.strip().isdecimal()), default=0)
    if not largest:
        return 'gives no segment_size to a shared-memory transport'
    if largest > shared_memory()[0]:
        return (
            f'promises {largest >> 20} MiB of shared memory to each process; {SHARED_MEMORY} has '
            f'{shared_memory()[0] >> 20} in all'
        )
    return ''


@dataclass(frozen=True)
class RunningNode:
    """A perception node that runs on this machine, and what its environment says.

    rmw: its middleware as far as it was chosen, else ''. profile: of Fast DDS, or None.
    """

    pid: int
    rmw: str
    profile: str | None


def running_nodes() -> Iterator[RunningNode]:
    """Yield the perception nodes of this machine that may be looked at."""
    for process in Path('/proc').glob('[0-9]*'):
        try:
            command = (process / 'cmdline').read_bytes().decode(errors='replace').split('\0')
            if not any(_is_node(word) for word in command[:6]):
                continue
            lines = (process / 'environ').read_bytes().decode(errors='replace').split('\0')
        except OSError:  # it has ended, or is somebody else's
            continue
        environment = dict(line.split('=', 1) for line in lines if '=' in line)
        yield RunningNode(
            int(process.name),
            environment.get('RMW_IMPLEMENTATION', ''),
            environment.get(profile_variable(environment)),
        )


def _is_node(word: str) -> bool:
    """Say whether a word of a command line names the node: as a module, or as an executable."""
    return Path(word).stem == _NODE or word.endswith(f'.{_NODE}')
