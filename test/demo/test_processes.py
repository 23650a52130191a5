"""Child processes: their end is reported with the end of their log, and none is left behind."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import subprocess
import sys
import time

import pytest

from perception_ros.demo.processes import DemoError, NodeProcess


def _start(folder: Path, code: str) -> NodeProcess:
    (folder / 'some_node.py').write_text(code)
    environment = {**os.environ, 'PYTHONPATH': str(folder)}
    return NodeProcess('some_node', [], folder / 'some_node.log', environment)


def _wait(process: NodeProcess) -> None:
    deadline = time.monotonic() + 20
    while process.is_running and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_child_that_dies_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    code = 'import sys\nprint("first")\nprint("no such engine")\nsys.exit(3)'
    with _start(tmp_path, code) as process:
        _wait(process)
        with pytest.raises(DemoError, match='some_node ended with status 3') as caught:
            process.check()
    assert caught.value.details.endswith('first\n  no such engine')
    assert 'some_node.log ends with' in caught.value.details


def test_a_child_that_was_killed_names_the_signal(tmp_path: Path) -> None:
    with _start(tmp_path, 'import os\nos.kill(os.getpid(), 9)') as process:
        _wait(process)
        with pytest.raises(DemoError, match='some_node ended with signal SIGKILL'):
            process.check(may_end=True)


def test_an_end_may_be_no_surprise(tmp_path: Path) -> None:
    with _start(tmp_path, 'pass') as process:
        process.check()
        _wait(process)
        process.check(may_end=True)
        with pytest.raises(DemoError, match='status 0'):
            process.check()


def test_leaving_ends_the_child_which_may_tidy_up(tmp_path: Path) -> None:
    code = (
        'import signal, sys, time\n'
        'def tidy(*_):\n    print("tidied up", flush=True)\n    sys.exit()\n'
        'signal.signal(signal.SIGTERM, tidy)\n'
        'print("up", flush=True)\ntime.sleep(60)'
    )
    log = tmp_path / 'some_node.log'
    with _start(tmp_path, code) as process:
        while 'up' not in log.read_text():
            time.sleep(0.02)
    assert not process.is_running
    assert log.read_text() == 'up\ntidied up\n'


def test_a_child_ends_even_when_its_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / 'some_node.py').write_text(
        'import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)'
    )
    code = (
        'import os, pathlib, sys, time\n'
        'from perception_ros.demo.processes import NodeProcess\n'
        'NodeProcess("some_node", [], pathlib.Path(sys.argv[1]), os.environ)\n'
        'time.sleep(60)'
    )
    log = tmp_path / 'some_node.log'
    environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}:{os.environ.get("PYTHONPATH", "")}'}
    parent = subprocess.Popen([sys.executable, '-c', code, str(log)], env=environment)
    try:
        _until(lambda: log.is_file() and log.read_text().endswith('\n'))
        child = Path('/proc', log.read_text().strip())
        assert child.exists()
    finally:
        parent.kill()
        parent.wait()
    # without anybody to collect it, what is left of it may stay as a zombie
    _until(lambda: not child.exists() or ') Z ' in (child / 'stat').read_text())


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_child_that_ignores_it_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('perception_ros.demo.processes._PATIENCE_S', 0.3)
    code = (
        'import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n'
        'print("up", flush=True)\ntime.sleep(60)'
    )
    with _start(tmp_path, code) as process:
        while 'up' not in (tmp_path / 'some_node.log').read_text():
            time.sleep(0.02)
    assert not process.is_running
