"""`perception_ros bag`, and bags where other commands take pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.bags.bag import open_bag
from test.bags.build import (
    COUNT,
    FRONT,
    MAKERS,
    noise,
    numbers,
    REAR,
    time_of,
    two_cameras,
)
from test.builders import picture, write_real_bundle
from test.cli.test_commands import call, CAPTURE
from test.evaluation.data import write_masks


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return MAKERS['mcap'](tmp_path, two_cameras())


@pytest.fixture
def damaged(tmp_path: Path, bag: Path) -> Path:
    path = tmp_path / 'damaged.mcap'
    path.write_bytes(bag.read_bytes()[:-40_000])
    return path


class TestInfo:

    def test_it_prints_a_table(self, bag: Path, capsys: CAPTURE) -> None:
        assert call('bag', 'info', bag) == 0
        out = ' '.join(capsys.readouterr().out.split())
        for text in ('24 messages in 2.300 s from 1.000 s', FRONT, 'sensor_msgs/Image',
                     '12 5.00', 'rgb8 60x40', 'in optical'):
            assert text in out

    def test_it_writes_json(self, bag: Path, tmp_path: Path, capsys: CAPTURE) -> None:
        assert call('bag', 'info', bag, '--json', '-') == 0
        about = json.loads(capsys.readouterr().out)
        assert call('bag', 'info', bag, '--json', tmp_path / 'about.json') == 0
        assert json.loads((tmp_path / 'about.json').read_text()) == about
        assert (about['messages'], about['problems']) == (COUNT, [])
        assert [(item['name'], item['count']) for item in about['topics']] == [
            (FRONT, 12), (REAR, 12)]

    def test_damage_is_said_and_the_rest_is_read(self, damaged: Path, capsys: CAPTURE) -> None:
        assert call('bag', 'info', damaged) == 1
        out, err = capsys.readouterr()
        assert 'damaged.mcap is damaged, it has no end' in ' '.join(err.split())
        assert 'rgb8 60x40' in out

    def test_what_is_no_bag_is_one_line(self, tmp_path: Path, capsys: CAPTURE) -> None:
        assert call('bag', 'info', tmp_path / 'gone.mcap') == 1
        assert 'error: there is no bag' in capsys.readouterr().err


class TestCut:

    def test_by_time_and_topics(self, bag: Path, tmp_path: Path, capsys: CAPTURE) -> None:
        part = tmp_path / 'part.db3'
        command = ['bag', 'cut', bag, part, '--start', '0.5', '--end', '1.1']
        assert call(*command, '--exclude', REAR) == 0
        assert '3 messages' in capsys.readouterr().out
        with open_bag(part) as opened:
            assert numbers(opened) == [6, 8, 10]
        assert call(*command) == 1
        assert 'exists; name another place, or pass --overwrite' in capsys.readouterr().err
        assert call(*command, '--overwrite', '--topics', f'{REAR},/gone') == 1
        assert 'there is no topic /gone' in capsys.readouterr().err
        with open_bag(part) as opened:
            assert numbers(opened) == [5, 7, 9]

    def test_of_a_damaged_bag_what_is_whole(
        self, damaged: Path, tmp_path: Path, capsys: CAPTURE
    ) -> None:
        assert call('bag', 'cut', damaged, tmp_path / 'whole.mcap') == 1
        assert 'is damaged' in capsys.readouterr().err
        assert call('bag', 'info', tmp_path / 'whole.mcap') == 0

    @pytest.mark.parametrize(('arguments', 'said'), [
        (['--start', '2', '--end', '1'], 'expected an end after the start'),
        (['--start', '99'], 'no message on these topics in this span'),
        (['--topics', '/gone'], 'has no topic /gone'),
    ])
    def test_nothing_is_written_for_nothing(
        self, bag: Path, tmp_path: Path, capsys: CAPTURE, arguments: list[str], said: str
    ) -> None:
        assert call('bag', 'cut', bag, tmp_path / 'part.mcap', *arguments) == 1
        assert said in ' '.join(capsys.readouterr().err.split())
        assert not (tmp_path / 'part.mcap').exists()

    def test_a_bag_is_not_cut_onto_itself(self, bag: Path, capsys: CAPTURE) -> None:
        before = bag.read_bytes()
        assert call('bag', 'cut', bag, bag, '--overwrite') == 1
        assert 'is the bag that is read' in capsys.readouterr().err
        assert bag.read_bytes() == before


def test_make_then_evaluate(tmp_path: Path, capsys: CAPTURE) -> None:
    pixels = picture(96, 64, red=(0, 0, 48, 64), green=(48, 0, 96, 64))
    ids = np.repeat(np.uint8([[0, 1]]), 48, axis=1).repeat(64, axis=0)
    root = write_masks(tmp_path / 'data', {'a': pixels}, {'a': ids}, ['red', 'green', 'blue'])
    made, bundle = tmp_path / 'made.mcap', write_real_bundle(tmp_path / 'means')
    assert call('bag', 'make', f'camvid:{root}', made, '--head', 'ground', '--rate', '5') == 0
    assert '/camera/ground_truth/semantic/ground' in capsys.readouterr().out
    assert call('evaluate', bundle.path, '--dataset', f'bag:{made}', '--json', '-') == 0
    assert json.loads(capsys.readouterr().out)['miou'] == 1.0


class TestRun:

    def test_the_images_of_a_bag(self, bag: Path, tmp_path: Path, capsys: CAPTURE) -> None:
        bundle, still = write_real_bundle(tmp_path / 'means'), tmp_path / 'still.png'
        assert cv2.imwrite(str(still), noise(3))
        assert call(
            'run', bundle.path, still, bag, '--topics', REAR, '--json', tmp_path / 'found.json',
            '--overlay', tmp_path / 'drawn',
        ) == 0
        assert f'{REAR} 1.100' in ' '.join(capsys.readouterr().out.split())
        found = json.loads((tmp_path / 'found.json').read_text())['images']
        assert [item.get('stamp_ns') for item in found] == [
            None, *(time_of(i) for i in range(1, COUNT, 2))]
        assert {item['topic'] for item in found[1:]} == {REAR}
        assert found[1]['detections'], 'the bundle scores the mean of each channel'
        assert len(list((tmp_path / 'drawn').glob('*.jpg'))) == 1 + COUNT // 2

    def test_a_damaged_bag_is_run_as_far_as_it_goes(
        self, damaged: Path, tmp_path: Path, capsys: CAPTURE
    ) -> None:
        bundle = write_real_bundle(tmp_path / 'means')
        assert call('run', bundle.path, damaged, '--json', tmp_path / 'found.json') == 1
        found = json.loads((tmp_path / 'found.json').read_text())['images']
        assert 12 < len(found) < COUNT
        assert 'is damaged' in capsys.readouterr().err

    def test_topics_without_images_are_refused_first(
        self, bag: Path, tmp_path: Path, capsys: CAPTURE
    ) -> None:
        bundle = write_real_bundle(tmp_path / 'means')
        assert call('run', bundle.path, bag, '--topics', '/gone') == 1
        assert 'no images on /gone (not there)' in capsys.readouterr().err
