"""A run held against its labels and its limits, from the command down."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
from typing import Any
from xml.etree import ElementTree

import pytest

from perception_ros.cli.main import main
from perception_ros.core.errors import ReplayError
from perception_ros.replay.limits import check, Limit, read_limits
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.run import play
from perception_ros.replay.verdict import judge
from test.replay.drawn import config, configuration, drawn_bag


@pytest.fixture(scope='module')
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('drawn')
    drawn_bag(folder / 'drawn.mcap', frames=6)
    configuration(folder)
    return folder


def command(drawn: Path, output: Path, *more: str | Path) -> int:
    """Return the exit status of the command."""
    with pytest.raises(SystemExit) as ended:
        main([
            'replay', str(drawn / 'drawn.mcap'), '--config', str(drawn / 'config.yaml'),
            '--output', str(output), *map(str, more),
        ])
    return int(ended.value.code or 0)


def test_what_is_found_exactly_has_full_marks(drawn: Path, tmp_path: Path) -> None:
    """The fake engine sees what was drawn."""
    assert command(drawn, tmp_path / 'out') == 0
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert (summary['mAP50'], summary['mAP'], summary['mIoU']) == pytest.approx((1, 1, 1))
    accuracy = summary['accuracy']['colours']
    assert accuracy['images'] == 12
    assert {name: item['n'] for name, item in accuracy['classes'].items()} == {
        'red': 4, 'green': 4, 'blue': 4,
    }
    assert accuracy['cameras'].keys() == {'front', 'rear'}
    assert accuracy['heads']['ground']['classes']['other']['IoU'] == pytest.approx(1)
    assert summary['frames'] == {'inferred': 12, 'dropped': 0}
    assert summary['frame_sets'] == 6
    assert summary['detections'] == {'colours': {'blue': 4, 'green': 4, 'red': 4}}
    assert summary['bundles']['colours']['name'] == 'means'
    assert summary['engines']['colours']['backend'] == 'fake'
    assert summary['environment']['cores'] >= 1
    assert summary['latency']['infer']['p99_ms'] > 0


def test_a_camera_that_finds_nothing_is_told_apart(drawn: Path, tmp_path: Path) -> None:
    """A raised threshold is a worse configuration, and the verdict says so."""
    values: dict[str, Any] = {'cameras': {'rear': {'score_threshold': 0.95}}}
    play(ReplayOptions(drawn / 'drawn.mcap', tmp_path / 'out', config(drawn, **values)))
    configuration(drawn)  # as the other tests have it
    figures = judge({drawn / 'drawn.mcap': tmp_path / 'out'})['colours'].as_json()
    assert figures['cameras']['front']['mAP50'] == pytest.approx(1)
    assert figures['cameras']['rear']['mAP50'] == 0
    assert 0 < figures['mAP50'] < 0.6
    assert figures['mIoU'] == pytest.approx(1), 'masks have no threshold'


def test_a_labelled_frame_without_a_result_has_found_nothing(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from perception_ros.backends.fake import FakeEngine

    run = FakeEngine._run

    def failing(self: FakeEngine, images: Any) -> Any:
        answers = run(self, images)
        if len(self.calls) == 4:  # two of them warm it up
            raise RuntimeError('broke')
        return answers

    monkeypatch.setattr(FakeEngine, '_run', failing)
    play(ReplayOptions(drawn / 'drawn.mcap', tmp_path / 'out', config(drawn)))
    figures = judge({drawn / 'drawn.mcap': tmp_path / 'out'})['colours'].as_json()
    assert figures['images'] == 12
    assert figures['classes']['green']['AP50'] == pytest.approx(0.5, abs=0.01), 'two of four'
    assert figures['heads']['ground']['classes']['green']['IoU'] == pytest.approx(0.5, abs=0.01)


def test_frames_left_out_on_purpose_do_not_count(drawn: Path, tmp_path: Path) -> None:
    values = {'models': {'colours': {'bundle': str(drawn / 'means'), 'max_rate_hz': 5.0}}}
    play(ReplayOptions(drawn / 'drawn.mcap', tmp_path / 'out', config(drawn, **values)))
    configuration(drawn)
    verdict = judge({drawn / 'drawn.mcap': tmp_path / 'out'})['colours']
    assert verdict.images == 6
    assert verdict.as_json()['mAP50'] == pytest.approx(1)


def test_a_broken_limit_ends_the_command_with_1_and_says_by_how_much(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = tmp_path / 'limits.yaml'
    limits.write_text(
        'limits:\n- mAP50 >= 0.4\n- frames_dropped.stale <= 1 %\n- classes.red.n >= 5\n'
    )
    junit = tmp_path / 'junit.xml'
    assert command(drawn, tmp_path / 'out', '--limits', limits, '--junit', junit) == 1
    said = capsys.readouterr()
    assert 'mAP50 >= 0.4: 1, kept' in said.out
    assert 'classes.red.n >= 5: 4, broken by 1' in said.err
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get('tests'), suite.get('failures')) == ('3', '1')
    [failure] = suite.iter('failure')
    assert failure.get('message') == 'classes.red.n >= 5: 4, broken by 1'
    summary = json.loads((tmp_path / 'out' / 'summary.json').read_text())
    assert [item['is_kept'] for item in summary['limits']] == [True, True, False]
    # limits can be changed without running again
    limits.write_text('limits: [mIoU > 0.9, comparison.vanished == 0]')
    before = shutil.copytree(tmp_path / 'out', tmp_path / 'before')
    same = ('--resume', '--baseline', before)
    assert command(drawn, tmp_path / 'out', '--limits', limits, *same) == 0
    assert 'Since before: 0 appeared, 0 vanished' in capsys.readouterr().out


SUMMARY: dict[str, Any] = {
    'mAP50': 0.5, 'mIoU': None,
    'frames': {'inferred': 90, 'dropped': 10}, 'frames_dropped': {'stale': 2, 'failed': 0},
    'latency': {'total': {'p99_ms': 80.0}},
    'accuracy': {
        'a': {'classes': {'car': {'AP50': 0.3}, 'v1.5': {'AP50': 0.2}}},
        'b': {'classes': {'tree': {'AP50': 0.4}, 'car': {'AP50': 0.6}}},
    },
}


@pytest.mark.parametrize(
    ('line', 'is_kept', 'says'),
    [
        ('mAP50 >= 0.4', True, 'mAP50 >= 0.4: 0.5, kept'),
        ('mAP50>50%', False, 'broken by 0 %'),
        ('frames_dropped.stale <= 1 %', False, 'frames_dropped.stale <= 1 %: 2 %, broken by 1 %'),
        ('frames_dropped.failed == 0', True, 'kept'),
        ('latency.total.p99_ms < 80', False, 'broken by 0'),
        ('classes.tree.AP50 >= 0.45', False, 'broken by 0.05'),
        ('accuracy.a.classes.car.AP50 >= 0.3', True, 'kept'),
        ('classes.v1.5.AP50 >= 0.1', True, 'kept'),
        ('mIoU >= 0.1', False, 'nothing was measured'),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_limits(line: str, is_kept: bool, says: str) -> None:
    [found] = check([Limit.parse(line)], SUMMARY)
    assert found.is_kept is is_kept
    assert says in str(found)


@pytest.mark.parametrize(
    ('line', 'says'),
    [
        ('mAP50 about 0.4', 'expected KEY SIGN NUMBER'),
        ('mAP51 >= 0.4', 'no figure mAP51; expected one such as mAP50, '),
        ('accuracy.car.AP50 >= 0.4', 'no figure accuracy.car.AP50; expected one such as cl'),
        ('classes.car.AP50 >= 0.4', 'say which: accuracy.a.classes.car.AP50, accuracy.b'),
    ],
    ids=['no sign', 'misspelt', 'a part left out', 'of two models'],
)
def test_a_wrong_limit_is_refused_with_advice(line: str, says: str) -> None:
    with pytest.raises(ReplayError, match=says):
        check([Limit.parse(line)], SUMMARY)


def test_a_file_of_no_limits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'limits.yaml'
    path.write_text('mAP50: 0.4')
    with pytest.raises(ReplayError, match='list of lines below limits:'):
        read_limits(path)
