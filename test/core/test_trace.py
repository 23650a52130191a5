"""A trace must be read by a browser whatever happens to the node, and cost the node nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
import json
import logging
from pathlib import Path
import threading
import time
from typing import Any

import pytest

from perception_ros.core.errors import ConfigError
from perception_ros.core.gil_probe import GilProbe
from perception_ros.core.passage import STAGES
from perception_ros.core.trace import Trace
from perception_ros.core.traced import TracedPipeline
from perception_ros.core.types import Result
from test.core.test_threaded import Setup, wait_until


def read(path: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(path.read_text())
    return told


def of_phase(told: dict[str, Any], *phases: str) -> list[dict[str, Any]]:
    return [event for event in told['traceEvents'] if event['ph'] in phases]


def by_thread(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the spans of each thread by its name."""
    names = {
        event['tid']: event['args']['name']
        for event in of_phase(told, 'M') if event['name'] == 'thread_name'
    }
    spans: dict[str, list[dict[str, Any]]] = {}
    for event in of_phase(told, 'X'):
        spans.setdefault(names[event['tid']], []).append(event)
    return spans


@pytest.fixture(scope='module')
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], list[Result]]:
    """Return the trace of a pipeline with two models, and its results."""
    path = tmp_path_factory.mktemp('trace') / 'deep' / 'trace.json'
    trace = Trace(path)
    setup = Setup(
        cameras=3, models=('a', 'b'), duration_ms=3.0, max_batch=2,
        make=partial(TracedPipeline, trace=trace), max_age_ms=5000.0,
    )
    with setup.running():
        for count in range(1, 9):
            setup.receive(setup.set_of_frames())
            wait_until(lambda count=count: len(setup.results) == 6 * count)  # type: ignore[misc]
    trace.close()
    return read(path), setup.results


def test_every_stage_is_on_the_thread_that_does_it(
    told: tuple[dict[str, Any], list[Result]]
) -> None:
    spans = {name: Counter(e['name'] for e in found) for name, found in by_thread(told[0]).items()}
    frames = len(told[1])
    assert spans['MainThread']['receive'] == frames // 2
    assert spans['MainThread']['match'] >= frames // 2
    for model in ('a', 'b'):
        assert spans[f'{model} infer_loop']['prepare'] >= 8
        finish = spans[f'{model} finish_loop']
        assert finish['restore'] == finish['publish'] == frames // 2
    calls = Counter(e['name'] for e in of_phase(told[0], 'b') if e['cat'] == 'engine')
    assert calls['engine a'] == spans['a infer_loop']['prepare']


def test_spans_of_a_thread_nest(told: tuple[dict[str, Any], list[Result]]) -> None:
    """A viewer draws those that overlap otherwise as nonsense."""
    for spans in by_thread(told[0]).values():
        open_until: list[float] = []
        for span in sorted(spans, key=lambda e: (e['ts'], -e['dur'])):
            ended_us = span['ts'] + span['dur']
            while open_until and open_until[-1] <= span['ts'] + 0.001:
                open_until.pop()
            assert not open_until or ended_us <= open_until[-1] + 0.001
            open_until.append(ended_us)


def test_the_way_of_a_frame_is_made_of_its_stages(
    told: tuple[dict[str, Any], list[Result]]
) -> None:
    ways: dict[int, list[dict[str, Any]]] = {}
    for event in of_phase(told[0], 'b', 'e'):
        if event['cat'] == 'frame':
            ways.setdefault(event['id'], []).append(event)
    assert len(ways) == len(told[1])
    for events in ways.values():
        begun = {e['name']: e['ts'] for e in events if e['ph'] == 'b'}
        ended = {e['name']: e['ts'] for e in events if e['ph'] == 'e'}
        [whole] = set(begun) - set(STAGES)
        parts = [name for name in STAGES if name in begun]
        assert parts == [name for name in STAGES if name not in ('transport', 'total')]
        edges_us = [begun[parts[0]], *(ended[name] for name in parts)]
        assert [begun[name] for name in parts] == edges_us[:-1], 'each where the last one ended'
        assert (begun[whole], ended[whole]) == (edges_us[0], edges_us[-1])


def test_what_is_lost_is_marked(tmp_path: Path) -> None:
    trace = Trace(tmp_path / 'trace.json')
    setup = Setup(
        cameras=2, wanted=lambda camera, model: frozenset(),
        make=partial(TracedPipeline, trace=trace),
    )
    with setup.running():
        setup.receive(setup.set_of_frames())
        wait_until(lambda: setup.accounted() == 2)
    trace.close()
    marks = [event['name'] for event in of_phase(read(tmp_path / 'trace.json'), 'i')]
    assert {'unwanted c0', 'unwanted c1'} <= set(marks)


def test_it_is_valid_while_it_grows_and_after_a_crash(tmp_path: Path) -> None:
    path = tmp_path / 'trace.json'
    trace = Trace(path)
    assert len(read(path)['traceEvents']) == 2, 'the name of the process, and the end'
    trace.span('work', 1000, 3000)
    wait_until(lambda: bool(of_phase(read(path), 'X')))
    trace.span('more', 4000, 5000)
    trace.close()
    trace.close()
    spans = of_phase(read(path), 'X')
    assert [(e['name'], e['ts'], e['dur']) for e in spans] == [
        ('work', 1.0, 2.0), ('more', 4.0, 1.0)
    ]


def test_it_ends_when_it_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A node that runs for days must not fill the disk."""
    path = tmp_path / 'trace.json'
    trace = Trace(path, limit_bytes=20_000)
    for index in range(1000):
        trace.span('work', index, index + 1)
    trace.close()
    told = read(path)
    assert path.stat().st_size < 21_000
    kept = len(of_phase(told, 'X'))
    assert told['otherData']['events_left_out'] >= 1000 - kept > 0
    assert 'is full' in caplog.text


def test_a_disk_that_fails_costs_the_trace_alone(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        trace = Trace(Path('/dev/full'))
        setup = Setup(cameras=1, make=partial(TracedPipeline, trace=trace))
        with setup.running():
            setup.receive(setup.set_of_frames())
            wait_until(lambda: len(setup.results) == 1)
        trace.close()
    assert caplog.text.count('cannot be written') == 1


def test_a_file_that_cannot_be_written_fails_at_once(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match='trace_file .*cannot be written'):
        Trace(tmp_path / 'file' / 'trace.json')


def probed(path: Path, work: Callable[[], object]) -> dict[str, Any]:
    """Return what the probe says of a thread that does some work again and again."""
    trace, over = Trace(path), threading.Event()

    def loop() -> None:
        while not over.is_set():
            work()
            time.sleep(0.02)

    thread = threading.Thread(target=loop, name='worker')
    probe = GilProbe(trace)
    thread.start()
    probe.start()
    time.sleep(1.0)
    probe.stop()
    over.set()
    thread.join()
    trace.close()
    told = read(path)
    assert of_phase(told, 'C'), 'drawn as curves'
    about: dict[str, Any] = told['otherData']
    return about


def test_who_holds_the_lock_is_found_out(tmp_path: Path) -> None:
    """One call into C that keeps the lock for long, against sleep, which gives it away."""
    long = range(4_000_000)
    held = probed(tmp_path / 'held.json', partial(sum, long))
    given = probed(tmp_path / 'given.json', partial(time.sleep, 0.05))
    assert held['gil_wait_ms']['max'] > 3 * given['gil_wait_ms']['p95']
    assert any(place.startswith('worker: ') for place in held['at_work_during_long_gil_waits'])
    assert not any(
        place.startswith('worker: ') for place in given['at_work_during_long_gil_waits']
    )
