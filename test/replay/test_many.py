"""Many bags, shared out over workers that may be lost."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
import json
import os
from pathlib import Path
import signal
import sys
from threading import Thread
import time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import pyarrow.parquet as pq
import pytest

from perception_ros.bags.cut import cut
from perception_ros.cli.main import main
from perception_ros.core.errors import ReplayError
from perception_ros.replay.crew import Crew
from perception_ros.replay.many import play_all
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.parts import Part, RunFolder, Span, split, undone
from perception_ros.replay.run import play
from perception_ros.replay.verdict import judge
from test.replay.drawn import config, configuration, drawn_bag

TABLES = ('frames.parquet', 'detections.parquet', 'faults.parquet')
PARTS = 6
"""Messages in a part: cuts fall into sets."""


@pytest.fixture(scope='module')
def bags(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp('bags')
    configuration(folder, 'onnxruntime')
    return [
        drawn_bag(folder / f'{i}.mcap', frames=10 + i, missing=(('rear', i),)) for i in range(8)
    ]


def options(bags: list[Path], output: Path, **values: Any) -> ReplayOptions:
    return ReplayOptions(
        bags[0], output, config(bags[0].parent, 'onnxruntime'), part_messages=PARTS,
        has_results=False, **values,
    )


def tables(folder: Path) -> Mapping[str, bytes]:
    return {name: (folder / name).read_bytes() for name in TABLES}


def is_below(process: Path, ancestor: int) -> bool:
    """Whether a process in /proc was started by another, or by one that it has started."""
    pid = int(process.name)
    while pid > 1 and pid != ancestor:
        stat = (process.parent / str(pid) / 'stat').read_text()
        pid = int(stat.rpartition(')')[2].split()[1])
    return pid == ancestor


def kill_a_worker(output: Path, killed: list[str]) -> None:
    """Kill the first worker of this very test that is seen at work once a part is done."""
    end = time.monotonic() + 60
    while time.monotonic() < end and not killed:
        if any(output.glob('*/parts/0*')):
            for process in Path('/proc').glob('[0-9]*'):
                try:
                    title = (process / 'cmdline').read_bytes()
                    if title.startswith(b'ray::perception_ros') and is_below(process, os.getpid()):
                        os.kill(int(process.name), signal.SIGKILL)
                        killed.append(process.name)
                        return
                except OSError:  # it has ended meanwhile
                    continue
        time.sleep(0.005)


def test_a_lost_worker_costs_no_frame_and_doubles_none(
    bags: list[Path], tmp_path: Path, ray_cluster: None
) -> None:
    """Eight bags, two workers, one of them killed: the tables of one process."""
    one = play_all(options(bags, tmp_path / 'one'), bags, Crew())
    killed: list[str] = []
    killer = Thread(target=kill_a_worker, args=(tmp_path / 'two', killed))
    killer.start()
    shares: list[float] = []
    two = play_all(options(bags, tmp_path / 'two'), bags, Crew(2), shares.append)
    killer.join()
    assert killed, 'no worker was caught at work'
    assert not one.failed and not two.failed
    assert tables(tmp_path / 'one') == tables(tmp_path / 'two')
    for bag in bags:
        assert tables(one.runs[bag]) == tables(two.runs[bag])
    assert shares == sorted(shares) and shares[-1] == 1
    assert len(shares) > len(bags), 'bags are cut in time too'
    names = pq.read_table(tmp_path / 'two/frames.parquet', columns=['bag'])['bag'].to_pylist()
    assert names == sorted(names) and set(names) == {str(i) for i in range(8)}


def command(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main(['replay', *map(str, arguments)])
    return int(ended.value.code or 0)


def test_one_bag_and_a_damaged_one_by_two_workers(
    bags: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], ray_cluster: None,
) -> None:
    """What one process makes of a bag, two make too; a bag that cannot be read costs itself."""
    (tmp_path / 'broken.mcap').write_bytes(b'no bag')
    monkeypatch.chdir(bags[7].parent)  # workers find what the command names
    both = ('7.mcap', tmp_path / 'broken.mcap', '--config', 'config.yaml')
    assert command(*both, '--output', tmp_path / 'two', '--workers', '2') == 1
    assert 'broken.mcap: ' in capsys.readouterr().err
    summary = json.loads((tmp_path / 'two/summary.json').read_text())
    assert [*summary['failed']] == ['broken.mcap']
    assert summary['frames']['inferred'] == 33
    assert command('7.mcap', '--config', 'config.yaml', '--output', tmp_path / 'one') == 0
    assert tables(tmp_path / 'one') == tables(tmp_path / 'two/7')


def test_several_bags_are_measured_as_one(bags: list[Path], tmp_path: Path) -> None:
    """The two halves of a bag give the figures of the whole, which are no means of theirs."""
    from perception_ros.bags.bag import open_bag

    # The rear, where nothing is found, is in the second half alone.
    missing = (('rear', 0), ('rear', 1))
    whole = drawn_bag(tmp_path / 'whole.mcap', frames=7, missing=missing)
    configuration(tmp_path)
    settings = config(tmp_path, cameras={'rear': {'score_threshold': 0.95}})
    halves = [tmp_path / 'a.mcap', tmp_path / 'b.mcap']
    with open_bag(whole) as bag:
        middle_ns = bag.start_ns + 150_000_000
        cut(bag, halves[0], end_ns=middle_ns)
        cut(bag, halves[1], start_ns=middle_ns)
    play(ReplayOptions(whole, tmp_path / 'out', settings))
    parts = play_all(ReplayOptions(halves[0], tmp_path / 'parts', settings), halves, Crew())
    figures = judge(parts.runs)['colours'].as_json()
    assert figures == judge({whole: tmp_path / 'out'})['colours'].as_json()
    alone = [judge({bag: parts.runs[bag]})['colours'].as_json()['mAP50'] for bag in halves]
    assert figures['mAP50'] != pytest.approx(sum(alone) / 2)


def test_a_run_that_was_shared_out_is_gone_on_with_alone(
    bags: list[Path], tmp_path: Path
) -> None:
    """Parts are done in any order; whoever goes on does what is missing, and nothing else."""
    play(options(bags, tmp_path / 'whole'))
    from perception_ros.replay.run import open_replay

    with open_replay(options(bags, tmp_path / 'cut')) as replay:
        replay.begin()
        replay.go(Span(1, 2))
        replay.go(Span(90, None))  # beyond the end
        with pytest.raises(ReplayError, match='the parts 0.. have not been done'):
            replay.join()
    with open_replay(options(bags, tmp_path / 'cut', resume=True)) as replay:
        assert replay.begin() == [Span(0, 1), Span(2, None)]
        replay.go(Span(0, 2))  # a part that is there stays as it is
        assert replay.begin() == [Span(2, None)]
    play(options(bags, tmp_path / 'cut', resume=True))
    assert tables(tmp_path / 'whole') == tables(tmp_path / 'cut')


@given(st.sets(st.integers(0, 30)), st.integers(0, 40), st.integers(1, 9), st.booleans())
def test_spans_are_what_is_missing(
    done: set[int], expected: int, most: int, has_last: bool
) -> None:
    """Each missing part is in one span, none that is done, and only the last one is open."""
    last = max(done, default=-1)
    parts = {i: Part(Path(), has_last and i == last, ()) for i in done}
    spans = split(undone(parts), expected, most)
    is_open = not (done and has_last)
    covered = [i for span in spans for i in range(span.first, span.end or max(expected, 40) + 50)]
    assert len(covered) == len(set(covered))
    assert not set(covered) & done
    assert set(covered) >= set(range(max(last, 0))) - done
    assert [i for i, span in enumerate(spans) if span.end is None] == [len(spans) - 1] * is_open
    assert all(span.end - span.first <= most for span in spans if span.end is not None)


@pytest.mark.parametrize(
    ('crew', 'says'),
    [
        (Crew(address='127.0.0.1:9'), 'no Ray cluster at 127.0.0.1:9: .*refused'),
        (Crew(address='somewhere'), 'an address is auto, HOST:PORT'),
    ],
)
def test_a_cluster_that_is_not_there_is_told_at_once(
    bags: list[Path], tmp_path: Path, crew: Crew, says: str
) -> None:
    pytest.importorskip('ray', reason='ray is not installed')
    with pytest.raises(ReplayError, match=says):
        play_all(options(bags, tmp_path / 'out'), bags, crew)


def test_shares_are_made_for_the_cluster_that_is_there(ray_cluster: None) -> None:
    """Whoever names an address says nothing of how many work there."""
    with Crew(7).at_work() as team:
        assert team.workers == 2
    with Crew(7, cpus=0.5).at_work() as team:
        assert team.workers == 4


@pytest.mark.parametrize('crew', [Crew(2, cpus=64), Crew(2, gpus=99)], ids=['CPUs', 'GPUs'])
def test_a_cluster_without_room_for_a_worker_is_told_at_once(
    bags: list[Path], tmp_path: Path, crew: Crew, ray_cluster: None
) -> None:
    """Ray would wait for ever for a machine that is large enough."""
    with pytest.raises(ReplayError, match='no machine of the cluster has as many: they have 2 '):
        play_all(options(bags, tmp_path / 'out'), bags, crew)
    assert not (tmp_path / 'out').exists()


def test_without_ray_it_is_said_what_to_install(
    bags: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ReplayError, match=r'perception_ros\[ray\]'):
        play_all(options(bags, tmp_path / 'out'), bags, Crew(2))


def test_workers_that_begin_at_once_agree_on_one_kind_of_engine(tmp_path: Path) -> None:
    """What each has read before any has written says nothing: one of a mixed cluster must end."""
    folder = RunFolder(tmp_path / 'run')
    folder.begin({}, resume=False, overwrite=False)
    with ThreadPoolExecutor(8) as pool:
        answers = [*pool.map(folder.agree, ({'model': str(i)} for i in range(8)))]
    assert answers == [folder.agreed()] * 8
    assert folder.parts() == {}


def test_folders_that_cannot_be_told_apart_are_refused(bags: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ReplayError, match='different names, got several called 0'):
        play_all(options(bags, tmp_path / 'out'), [bags[0], tmp_path / '0.mcap'], Crew())
    play(options(bags, tmp_path / 'out'))
    with pytest.raises(ReplayError, match='holds the run of one bag'):
        play_all(options(bags, tmp_path / 'out'), bags, Crew())
    with pytest.raises(ReplayError, match='at least one worker'):
        Crew(0)
