"""A bag over real DDS against a node in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path
import signal
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from perception_ros.cli.main import main
from perception_ros.demo.processes import DemoError, NodeProcess
from perception_ros.faults.plan import FaultPlan
from perception_ros.realtime import node
from perception_ros.realtime.options import RealtimeOptions
from perception_ros.realtime.run import Ending, play_realtime
from perception_ros.replay.answers import Answer, answers, Key
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.run import play
from perception_ros.replay.summary import summarise
from perception_ros.replay.tables import FRAMES, INFERRED, read_rows
from test.nodes.bench import Bench
from test.replay.drawn import config, configuration, drawn_bag

pytestmark = pytest.mark.dds

FRAMES_EACH = 10
PIDS: list[int] = []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a bag and a configuration, and remember which processes are started."""
    drawn_bag(tmp_path / 'drawn.mcap', frames=FRAMES_EACH)
    PIDS.clear()

    def start(*arguments: Any) -> NodeProcess:
        process = NodeProcess(*arguments)
        PIDS.append(process.pid)
        return process

    monkeypatch.setattr(node, 'NodeProcess', start)
    monkeypatch.delenv('ROS_DOMAIN_ID', raising=False)
    return tmp_path


def options(folder: Path, output: str, **values: Any) -> ReplayOptions:
    return ReplayOptions(
        folder / 'drawn.mcap', folder / output, config(folder, 'onnxruntime'), **values
    )


def once(share: float, act: Callable[[], None]) -> Callable[[float], None]:
    """Return what acts the first time that so much is played."""
    done: list[bool] = []

    def tell(now: float) -> None:
        if now >= share and not done:
            done.append(True)
            act()

    return tell


def check_counts(folder: Path) -> dict[str, Any]:
    """Say that each frame that was published has a fate, and return the figures."""
    figures: dict[str, Any] = summarise([folder])['realtime']
    for item in figures['cameras'].values():
        assert item['published'] == item['inferred'] + item['dropped']
        assert item['dropped'] == sum(item['reasons'].values())
    rows = [row for row in read_rows(folder / f'{FRAMES}.parquet', ('outcome',))
            if row[0] != 'missing']
    assert len(rows) == figures['published']
    return figures


def test_it_says_what_the_offline_replay_says_at_any_rate(folder: Path) -> None:
    """Two rounds at rate 2: the same answers, in half of the time that two rounds take."""
    assert play_realtime(
        options(folder, 'live'), RealtimeOptions(rate=2.0, loop=2)
    ) == Ending()
    figures = check_counts(folder / 'live')
    assert {name: item['published'] for name, item in figures['cameras'].items()} == {
        'front': 2 * FRAMES_EACH, 'rear': 2 * FRAMES_EACH,
    }
    as_recorded_s = (2 * FRAMES_EACH - 1) * 0.1
    assert 0.4 < figures['pace']['played_s'] / as_recorded_s < 0.8
    play(options(folder, 'offline'))
    offline = by_key(folder / 'offline')
    inferred = {
        row[:2] for row in
        read_rows(folder / 'live' / f'{FRAMES}.parquet', ('camera', 'stamp_ns', 'outcome'))
        if row[2] == INFERRED
    }
    live = by_key(folder / 'live')
    assert len(inferred) >= FRAMES_EACH and inferred <= offline.keys()
    for key in inferred:
        assert live[key].classes == offline[key].classes and live[key].size == offline[key].size
        np.testing.assert_allclose(live[key].boxes, offline[key].boxes, atol=0.01)
        np.testing.assert_allclose(live[key].scores, offline[key].scores, atol=1e-4)
    item = figures['cameras']['front']
    assert 0 < item['end_to_end']['p50_ms'] <= item['age']['max_ms']
    assert item['infer']['p50_ms'] < item['end_to_end']['p50_ms']
    assert figures['node']['peak_memory_mb'] > 50
    assert not is_alive(PIDS[0])


def by_key(folder: Path) -> dict[Key, Answer]:
    return {answer.key: answer for answer in answers(folder, 'colours')}


def test_a_node_that_dies_costs_what_it_had_not_said(folder: Path) -> None:
    ending = play_realtime(
        options(folder, 'dies', has_results=False), RealtimeOptions(loop=50),
        once(0.01, lambda: os.kill(PIDS[0], signal.SIGKILL)),
    )
    assert ending.problem == 'perception_node ended with signal SIGKILL'
    assert 'perception_node.log ends with' in ending.details
    figures = check_counts(folder / 'dies')
    assert 0 < figures['inferred'] < 50 * FRAMES_EACH
    assert figures['ended_by'] == ending.problem


def test_an_interrupt_keeps_what_came_and_ends_the_node(folder: Path) -> None:
    """And faults go through the player, like everything that it publishes."""
    plan = FaultPlan.model_validate({'faults': [{'kind': 'lose_camera', 'cameras': ['rear']}]})
    before = signal.getsignal(signal.SIGINT)
    ending = play_realtime(
        options(folder, 'cut', has_results=False, faults=plan), RealtimeOptions(loop=50),
        once(0.01, lambda: os.kill(os.getpid(), signal.SIGINT)),
    )
    assert ending == Ending('interrupted', is_interrupt=True)
    assert signal.getsignal(signal.SIGINT) is before
    figures = check_counts(folder / 'cut')
    assert figures['cameras']['front']['inferred'] and not figures['cameras']['rear']['published']
    deadline = time.monotonic() + 5
    while is_alive(PIDS[0]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(PIDS[0])


def test_a_node_that_ends_at_once_is_told_of_with_its_log(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(module: str, *others: Any) -> NodeProcess:
        return NodeProcess('no_such_module', *others)

    monkeypatch.setattr(node, 'NodeProcess', start)
    with pytest.raises(DemoError, match='ended with status 1') as caught:
        play_realtime(options(folder, 'none'), RealtimeOptions())
    assert 'no_such_module' in caught.value.details


def test_it_plays_to_a_node_that_runs_already(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no log then: what arrives is all that is known."""
    config(folder, 'onnxruntime')
    bench = Bench(folder / 'means')
    try:
        bench.launch(
            'front', 'rear', model_names=['colours'], models__colours__backend='onnxruntime',
            models__colours__bundle=str(folder / 'means'),
        )
        bench.active()
        monkeypatch.setenv('ROS_DOMAIN_ID', str(bench.domain))
        ending = play_realtime(options(folder, 'other'), RealtimeOptions(node='/perception'))
    finally:
        bench.close()
    assert ending == Ending() and not PIDS
    figures = check_counts(folder / 'other')
    assert figures['inferred'] and figures['node']['cpu_cores'] is None
    assert set(figures['cameras']['front']['reasons']) <= {'lost'}


@pytest.mark.parametrize('option', ['--rate=2', '--loop=3', '--topics=none', '--node=/perception'])
def test_what_needs_a_clock_on_the_wall_is_refused_without(
    folder: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = configuration(folder)
    with pytest.raises(SystemExit) as ended:
        main(['replay', str(folder / 'drawn.mcap'), '--config', str(parameters),
              '--output', str(folder / 'out'), option])
    assert ended.value.code == 1 and '--realtime only' in capsys.readouterr().err
    assert not (folder / 'out').exists()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
