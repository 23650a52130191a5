"""Two runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from perception_ros.cli.main import main
from perception_ros.core.errors import ReplayError
from perception_ros.replay.answers import Answer
from perception_ros.replay.compare import against, compare, ModelComparison
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.run import play
from test.replay.drawn import config, configuration, drawn_bag

Box = tuple[float, float, float, float]
A: Box = (0, 0, 10, 10)
NEAR: Box = (1, 0, 11, 10)
FAR: Box = (50, 0, 60, 10)


def answer(*found: tuple[str, Box]) -> Answer:
    boxes = np.array([box for _, box in found], float).reshape(-1, 4)
    return Answer(('front', 1), (96, 64), boxes, np.full(len(found), 0.5), tuple(
        name for name, _ in found))


@pytest.mark.parametrize(
    ('first', 'second', 'counts'),
    [
        ([('car', A)], [('car', A)], {'car': {'same': 1}}),
        ([('car', A)], [('car', NEAR)], {'car': {'moved': 1}}),
        ([('car', A)], [('bus', NEAR)], {'car': {'relabelled': 1}}),
        ([('car', A)], [('car', FAR)], {'car': {'vanished': 1, 'appeared': 1}}),
        ([], [('car', A)], {'car': {'appeared': 1}}),
        ([('car', A)], [], {'car': {'vanished': 1}}),
        ([('car', A), ('bus', A)], [('bus', NEAR), ('car', A)],
         {'car': {'same': 1}, 'bus': {'moved': 1}}),
        ([('car', A)], [('bus', A), ('car', NEAR)],
         {'car': {'moved': 1}, 'bus': {'appeared': 1}}),
    ],
    ids=['same', 'moved', 'relabelled', 'elsewhere', 'appeared', 'vanished', 'two on one place',
         'its own class before a better overlap'],
)
def test_a_frame(
    first: list[tuple[str, Box]], second: list[tuple[str, Box]], counts: dict[str, dict[str, int]]
) -> None:
    found = ModelComparison()
    found.add(answer(*first), answer(*second))
    assert found.counts == counts
    assert found.is_equal is (counts == {'car': {'same': 1}})


def test_two_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A camera less and a raised threshold: its detections vanish, frame by frame."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=3)
    first, second, front = tmp_path / 'first', tmp_path / 'second', tmp_path / 'front'
    play(ReplayOptions(bag, first, config(tmp_path), has_results=False))
    changed = config(tmp_path, cameras={'rear': {'score_threshold': 0.95}})
    play(ReplayOptions(bag, second, changed, has_results=False))
    play(ReplayOptions(bag, front, config(tmp_path), cameras=('front',), has_results=False))
    with pytest.raises(ReplayError, match='summary.json'):
        against(first, second, {})
    for folder, accuracy in ((first, 1.0), (second, 0.5), (front, None)):
        summary = {'mAP50': accuracy, 'latency': {'infer': {'p50_ms': 2}}}
        (folder / 'summary.json').write_text(json.dumps(summary))
    for other, status in ((first, 0), (second, 1), (front, 1)):
        with pytest.raises(SystemExit) as ended:
            main(['compare', str(first), str(other), '--exit-code', '--json', '-'])
        assert ended.value.code == status
    second_said = json.loads(capsys.readouterr().out.split('\n}\n')[1] + '}')
    assert second_said['figures'] == {
        'mAP50': {'first': 1.0, 'second': 0.5}, 'latency.infer.p50_ms': {'first': 2, 'second': 2},
    }
    found = second_said['models']['colours']
    assert found['classes']['red'] == {
        'same': 1, 'appeared': 0, 'vanished': 1, 'moved': 0, 'relabelled': 0,
    }
    assert [item['camera'] for item in found['worst_frames']] == ['rear'] * 3
    found = against(first, second, {'mAP50': 0.25})
    assert (found['vanished'], found['appeared'], found['difference']) == (3, 0, {'mAP50': -0.75})
    assert compare(first, front)['colours'].only_first == 3
    with pytest.raises(ReplayError, match='expected the folder of a replay'):
        compare(first, tmp_path / 'nothing')
    with pytest.raises(ReplayError, match='no bag in common'):
        compare(first, tmp_path)  # which holds several runs


@pytest.mark.parametrize(
    ('baseline', 'says'),
    [('gone', 'gone: expected the folder of a replay'), ('out', 'out is the output too')],
    ids=['not there', 'the output'],
)
def test_a_baseline_of_no_use_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], baseline: str, says: str
) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=1)
    output = tmp_path / 'out'
    with pytest.raises(SystemExit) as ended:
        main([
            'replay', str(bag), '--config', str(configuration(tmp_path)), '--output', str(output),
            '--baseline', str(tmp_path / baseline), '--overwrite',
        ])
    assert ended.value.code == 1
    assert says in capsys.readouterr().err
    assert not output.exists()
