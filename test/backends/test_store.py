"""The engine store: what it gives back is what was built for just this key, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
import errno
from hashlib import sha256
import json
import logging
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import pytest

from perception_ros.backends.store import default_folder, EngineStore
from perception_ros.core.errors import BackendError

KEY = {'graph': 'a' * 64, 'gpu': 'none', 'batch': [1, 8]}
PAYLOAD = bytes(range(256)) * 16
ROOT = Path(__file__).parents[2]

BUILDER = """
import logging, sys, time
from pathlib import Path
from perception_ros.backends.store import EngineStore

logging.basicConfig(level=logging.INFO, format='%(message)s')

def build():
    print('building', flush=True)
    sys.stdin.readline()
    return b'built by ' + sys.argv[2].encode(), {}

stored = EngineStore(Path(sys.argv[1])).get_or_build({'key': 1}, build, 'the engine')
print(stored.payload.decode(), stored.was_built, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> EngineStore:
    return EngineStore(tmp_path / 'cache')


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, 'perception_ros')
    return caplog


def never() -> tuple[bytes, dict[str, Any]]:
    raise AssertionError('built although it is stored')


def built(payload: bytes = PAYLOAD) -> Callable[[], tuple[bytes, dict[str, Any]]]:
    return lambda: (payload, {'precision': 'fp16'})


def files(store: EngineStore) -> set[str]:
    return {path.suffix for path in store.folder.iterdir()}


def test_what_was_built_once_is_found(store: EngineStore) -> None:
    first = store.get_or_build(KEY, built(), 'x')
    again = EngineStore(store.folder).get_or_build(KEY, never, 'x')
    assert (first.payload, first.was_built) == (PAYLOAD, True)
    assert (again.payload, again.was_built, again.about) == (PAYLOAD, False, {'precision': 'fp16'})
    assert first.path == again.path
    assert files(store) == {'.bin', '.json'}, 'neither locks nor unfinished files stay'


def test_the_key_lies_beside_the_engine(store: EngineStore) -> None:
    path = store.get_or_build(KEY, built(), 'x').path
    assert path is not None
    assert json.loads(path.with_suffix('.json').read_text())['key'] == KEY


@given(st.sampled_from(sorted(KEY)), st.text(max_size=3))
@settings(max_examples=25, deadline=None)
def test_another_key_is_another_engine(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str
) -> None:
    store = EngineStore(tmp_path_factory.mktemp('cache'))
    store.get_or_build(KEY, built(), 'x')
    other = store.get_or_build(KEY | {name: value}, built(b'other'), 'x')
    assert other.was_built and other.payload == b'other'
    assert store.get_or_build(KEY, never, 'x').payload == PAYLOAD


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def emptied(path: Path) -> None:
    path.write_bytes(b'')


def of_another_key(path: Path) -> None:
    """Put a whole entry of another key, payload and sidecar, in the place of this one."""
    store = EngineStore(path.parent)
    other = store.get_or_build(KEY | {'gpu': 'another'}, built(b'foreign'), 'y').path
    assert other is not None
    for suffix in ('.bin', '.json'):
        os.replace(other.with_suffix(suffix), path.with_suffix(suffix))


def sidecar(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda path: change(path.with_suffix('.json'))


def edited(path: Path) -> None:
    """Say something else of the engine."""
    path.write_text(path.read_text().replace('fp16', 'int8'))


def hashed_nothing(path: Path) -> None:
    path.write_text(json.dumps({'sha256': sha256(b'{}').hexdigest()}))


def a_list(path: Path) -> None:
    path.write_text('[1, 2]')


@pytest.mark.parametrize(
    'damage',
    [
        truncated, flipped, emptied, of_another_key,
        sidecar(truncated), sidecar(emptied), sidecar(edited), sidecar(a_list),
        sidecar(hashed_nothing),
    ],
    ids=[
        'truncated', 'flipped bit', 'empty', 'foreign',
        'sidecar truncated', 'sidecar empty', 'sidecar edited', 'sidecar is a list',
        'sidecar says nothing',
    ],
)
def test_what_is_damaged_is_built_anew_with_one_line(
    store: EngineStore, warnings: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    path = store.get_or_build(KEY, built(), 'x').path
    assert path is not None
    damage(path)
    assert store.load(KEY) is None
    again = store.get_or_build(KEY, built(b'new'), 'x')
    assert (again.payload, again.was_built) == (b'new', True)
    assert len(warnings.messages) == 1 and 'built anew' in warnings.text
    assert store.get_or_build(KEY, never, 'x').payload == b'new'


def test_an_engine_without_a_sidecar_is_none(store: EngineStore) -> None:
    """So it looks where a writer was killed between the two."""
    path = store.get_or_build(KEY, built(), 'x').path
    assert path is not None
    path.with_suffix('.json').unlink()
    assert store.get_or_build(KEY, built(b'new'), 'x').was_built


def test_a_build_that_fails_leaves_nothing(store: EngineStore) -> None:
    def build() -> tuple[bytes, dict[str, Any]]:
        raise BackendError('no')

    with pytest.raises(BackendError):
        store.get_or_build(KEY, build, 'x')
    assert list(store.folder.iterdir()) == []


@pytest.fixture
def start(store: EngineStore) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Start processes that build one and the same engine, each when it is sent a line."""
    processes = []

    def begin(name: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, '-c', BUILDER, str(store.folder), name],
            cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def line(stream: Any) -> str:
    return str(stream.readline()).strip()


def test_two_processes_build_once_and_the_waiter_says_for_whom(
    start: Callable[[str], subprocess.Popen[str]],
) -> None:
    first = start('first')
    assert line(first.stdout) == 'building'
    second = start('second')
    assert line(second.stderr) == f'waiting for process {first.pid}, which builds the engine'
    assert first.communicate('\n')[0] == 'built by first True\n'
    assert second.communicate()[0] == 'built by first False\n'


def test_a_builder_that_is_killed_blocks_nobody(
    start: Callable[[str], subprocess.Popen[str]], store: EngineStore
) -> None:
    first = start('first')
    assert line(first.stdout) == 'building'
    second = start('second')
    assert line(second.stderr).startswith('waiting for')
    first.send_signal(signal.SIGKILL)
    assert line(second.stdout) == 'building'
    assert second.communicate('\n')[0] == 'built by second True\n'
    assert files(store) == {'.bin', '.json'}


def test_who_waits_may_give_up(
    start: Callable[[str], subprocess.Popen[str]], store: EngineStore
) -> None:
    assert line(start('first').stdout) == 'building'
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(BackendError, match='x was cancelled while another process built it'):
        store.get_or_build({'key': 1}, never, 'x', cancel)


def test_threads_of_one_process_build_once(store: EngineStore) -> None:
    builds = []

    def build() -> tuple[bytes, dict[str, Any]]:
        builds.append(1)
        time.sleep(0.05)
        return PAYLOAD, {}

    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda _: store.get_or_build(KEY, build, 'x'), range(4)))
    assert len(builds) == 1
    assert [result.payload for result in results] == [PAYLOAD] * 4


def test_a_disk_that_is_full_costs_a_warning(
    store: EngineStore, warnings: pytest.LogCaptureFixture
) -> None:
    """No file may grow beyond a limit here, which is how a write fails half way."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(PAYLOAD) // 2, before[1]))
    try:
        stored = store.get_or_build(KEY, built(), 'the engine')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (stored.payload, stored.path, stored.was_built) == (PAYLOAD, None, True)
    assert os.strerror(errno.EFBIG) in warnings.text and 'PERCEPTION_ROS_CACHE' in warnings.text
    assert list(store.folder.iterdir()) == []
    assert store.load(KEY) is None


def test_a_folder_that_cannot_be_made_costs_a_warning(
    tmp_path: Path, warnings: pytest.LogCaptureFixture
) -> None:
    (tmp_path / 'file').write_text('in the way')
    stored = EngineStore(tmp_path / 'file' / 'cache').get_or_build(KEY, built(), 'the engine')
    assert (stored.payload, stored.path) == (PAYLOAD, None)
    assert 'cannot be written to' in warnings.text and 'PERCEPTION_ROS_CACHE' in warnings.text


READ_ONLY = """
import os, sys
from pathlib import Path
from perception_ros.backends.store import EngineStore

if os.getuid() == 0:
    os.setuid(65534)  # root may write everywhere
store = EngineStore(Path(sys.argv[1]))
print(store.get_or_build({'old': 1}, lambda: (b'never', {}), 'x').payload.decode())
print(store.get_or_build({'new': 1}, lambda: (b'in memory', {}), 'x').payload.decode())
"""


def test_a_read_only_folder_is_read_and_costs_a_warning() -> None:
    with tempfile.TemporaryDirectory() as name:  # pytest's own folders are closed to others
        folder = Path(name)
        EngineStore(folder).get_or_build({'old': 1}, lambda: (b'found', {}), 'x')
        folder.chmod(0o555)
        done = subprocess.run(
            [sys.executable, '-c', READ_ONLY, name], cwd=ROOT, text=True, capture_output=True
        )
        assert done.stdout.split('\n')[:2] == ['found', 'in memory'], done.stderr
        assert 'cannot be written to' in done.stderr


def test_what_killed_writers_left_is_swept(store: EngineStore) -> None:
    store.get_or_build(KEY, built(), 'x')
    old, young = (store.folder / f'{name}.bin.unfinished' for name in ('old', 'young'))
    half = store.folder / 'half.bin'
    for path in (old, young, half):
        path.write_bytes(PAYLOAD)
    for path in (old, half):
        os.utime(path, (0, 0))
    store.save({'other': 1}, b'', {}, 'y')
    assert young.exists() and not old.exists() and not half.exists()
    assert store.get_or_build(KEY, never, 'x').payload == PAYLOAD


def test_entries_are_listed_last_used_first_and_can_be_removed(store: EngineStore) -> None:
    for name in ('a', 'b'):
        store.save({'name': name}, PAYLOAD, {'precision': 'fp32'}, name)
    (store.folder / 'stray.json').write_text('{}')
    first = next(entry for entry in store.entries() if entry.key == {'name': 'a'})
    os.utime(first.path.with_suffix('.json'), (1000, 1000))
    assert [entry.key['name'] for entry in store.entries()] == ['b', 'a']
    assert store.entries()[1].size_bytes == len(PAYLOAD)
    assert store.entries()[1].used_s == 1000
    assert store.load({'name': 'a'}) is not None
    assert [entry.key['name'] for entry in store.entries()] == ['a', 'b'], 'it has been used'
    store.remove(store.entries()[0])
    assert [entry.key['name'] for entry in store.entries()] == ['b']
    assert store.load({'name': 'a'}) is None


@pytest.mark.parametrize(
    ('environment', 'expected'),
    [
        ({'PERCEPTION_ROS_CACHE': '/engines'}, Path('/engines')),
        ({'PERCEPTION_ROS_CACHE': '', 'XDG_CACHE_HOME': '/var/x'}, Path('/var/x/perception_ros')),
        ({'XDG_CACHE_HOME': 'relative'}, Path.home() / '.cache' / 'perception_ros'),
        ({}, Path.home() / '.cache' / 'perception_ros'),
    ],
    ids=['named', 'XDG', 'relative XDG is none', 'home'],
)
def test_where_the_store_lies(environment: dict[str, str], expected: Path) -> None:
    assert default_folder(environment) == expected
