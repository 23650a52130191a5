"""Whole runs over real bags: what they give, that they repeat, and that they can be resumed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
import errno
import gc
from itertools import count
from pathlib import Path
import subprocess
import sys
import time
from typing import Any
from unittest.mock import DEFAULT, Mock

import numpy as np
import pytest

from perception_ros.backends.configured import open_model
from perception_ros.bags import messages
from perception_ros.bags.annotations import ANNOTATIONS
from perception_ros.bags.bag import open_bag
from perception_ros.bags.frames import frames
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import ConfigError, ReplayError
from perception_ros.core.threaded import ThreadedPipeline
from perception_ros.core.types import Frame, Result
from perception_ros.replay import parts as parts_module
from perception_ros.replay.answers import answers
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.results import RESULTS
from perception_ros.replay.run import play
from perception_ros.replay.summary import summarise
from perception_ros.replay.tables import FRAMES, read_rows
from test.bags.build import MAKERS, two_cameras
from test.builders import MS
from test.replay.drawn import config, configuration, drawn_bag

ROOT = Path(__file__).parents[2]
REPEATING = ('detections.parquet', 'frames.parquet')
"""Tables that hold nothing of the machine or the hour."""


def run(
    folder: Path, bag: Path, name: str = 'out', backend: str = 'fake', **options: Any
) -> Path:
    values = options.pop('values', {})
    output = folder / name
    play(ReplayOptions(bag, output, config(folder, backend, **values), **options))
    return output


def outcomes(output: Path) -> Counter[tuple[str, str]]:
    """Return how many rows of frames have each (outcome, reason)."""
    return Counter(read_rows(output / f'{FRAMES}.parquet', ('outcome', 'reason')))


@pytest.mark.parametrize('backend', ['fake', 'onnxruntime'])
def test_two_runs_give_the_same_bytes(tmp_path: Path, backend: str) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap')
    first, second = (run(tmp_path, bag, name, backend) for name in ('first', 'second'))
    for table in REPEATING:
        assert (first / table).read_bytes() == (second / table).read_bytes()
    assert outcomes(first) == {('inferred', ''): 16}


def test_the_kind_of_bag_makes_no_difference(tmp_path: Path) -> None:
    outputs = []
    for kind in ('mcap-zstd', 'db3-split', 'ros1-bz2'):
        folder = tmp_path / kind
        folder.mkdir()
        bag = MAKERS[kind](folder, two_cameras(6))
        outputs.append(run(
            tmp_path, bag, f'{kind}-out', has_results=False, values={'camera_names': ['']}
        ))
        assert outcomes(outputs[-1])['inferred', ''] == 6
    for table in REPEATING:
        assert len({(output / table).read_bytes() for output in outputs}) == 1


def test_results_open_as_messages(tmp_path: Path) -> None:
    """With the names that the node gives them, and what Foxglove draws."""
    output = run(tmp_path, drawn_bag(tmp_path / 'drawn.mcap', frames=2))
    with open_bag(output / RESULTS) as results:
        assert not results.problems
        assert {name: (topic.types[0], topic.count) for name, topic in results.topics.items()} == {
            f'/perception/{camera}/{name}': (kind, count)
            for camera in ('front', 'rear')
            for name, kind, count in (
                ('detections', messages.DETECTIONS_2D, 2),
                ('annotations', ANNOTATIONS, 2),
                ('semantic/ground', messages.IMAGE, 2),
                ('semantic/ground/label_info', messages.LABEL_INFO, 1),
                ('overlay/compressed', messages.COMPRESSED_IMAGE, 2),
            )
        }
        found = {m.topic: results.decode(m) for m in results.messages() if m.time_ns == 1000 * MS}
    boxes, names = messages.boxes_of(found['/perception/front/detections'])
    np.testing.assert_allclose(boxes, [(8, 8, 48, 40)], atol=0.01)
    assert names == ['red']
    drawn = found['/perception/front/annotations']
    corners = [(point.x, point.y) for point in drawn.points[0].points]
    np.testing.assert_allclose(corners, [(8, 8), (48, 8), (48, 40), (8, 40)], atol=0.01)
    assert drawn.texts[0].text == 'red 0.90'


KILLED = """
import os, signal, sys
from pathlib import Path
from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.replay import run
bag, config, output, kill_at = sys.argv[1:]
taken = 0

def tell(share):
    global taken
    taken += 1
    if taken == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)

run.play(run.ReplayOptions(
    Path(bag), Path(output), read_parameter_file(Path(config)), resume=True, part_messages=4,
), tell)
"""


@pytest.mark.parametrize(
    'kills',
    [((11, 2),), pytest.param(((11, 2), (15, 3)), marks=pytest.mark.slow)],
    ids=['killed in the third part', 'and again while it resumes'],
)
def test_a_run_that_was_killed_and_resumed_equals_an_undisturbed_one(
    tmp_path: Path, kills: tuple[tuple[int, int], ...]
) -> None:
    """Kills come at a message, and find so many parts done; sets reach over the cuts."""
    missing = (('rear', 1), ('front', 4))  # so the parts end in the middle of sets
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=10, missing=missing)
    whole = run(tmp_path, bag, 'whole', 'onnxruntime', part_messages=4)
    file = configuration(tmp_path, 'onnxruntime')
    broken = tmp_path / 'broken'
    broken.mkdir()
    for kill_at, parts in kills:
        done = subprocess.run(
            [sys.executable, '-c', KILLED, bag, file, broken, str(kill_at)], cwd=ROOT
        )
        assert done.returncode == -9
        assert len(list((broken / 'parts').glob('0*'))) == parts
    with pytest.raises(ReplayError, match='pass --resume to go on'):
        run(tmp_path, bag, 'broken', 'onnxruntime', part_messages=4)
    run(tmp_path, bag, 'broken', 'onnxruntime', resume=True, part_messages=4)
    for table in REPEATING:
        assert (whole / table).read_bytes() == (broken / table).read_bytes()
    assert messages_of(whole) == messages_of(broken)
    assert sum(count for (outcome, _), count in outcomes(whole).items() if outcome == 'inferred') \
        == 18


def test_ctrl_c_keeps_what_is_done(tmp_path: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=6)
    whole, broken = run(tmp_path, bag, 'whole', part_messages=4), tmp_path / 'broken'
    shares: list[float] = []

    def tell(share: float) -> None:
        shares.append(share)
        if len(shares) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play(ReplayOptions(bag, broken, config(tmp_path), part_messages=4), tell)
    assert [path.name for path in sorted((broken / 'parts').glob('0*'))] == ['000000', '000001']
    assert shares == sorted(shares) and 0 <= shares[0] < shares[-1] < 1
    run(tmp_path, bag, 'broken', resume=True, part_messages=4)
    for table in REPEATING:
        assert (whole / table).read_bytes() == (broken / table).read_bytes()
    assert not (broken / 'parts').exists()


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    """However many frames have come, few of them are alive."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=30)
    taken, alive = count(1), []

    def tell(share: float) -> None:
        if next(taken) in (20, 40, 60):
            alive.append(sum(isinstance(item, Frame) for item in gc.get_objects()))

    play(ReplayOptions(bag, tmp_path / 'out', config(tmp_path)), tell)
    assert len(alive) == 3
    # a set that waits, two batches in the engine, what the composer holds of each camera
    assert max(alive) <= 14


def test_rows_do_not_depend_on_the_size_of_parts(tmp_path: Path) -> None:
    """Batches of several sets under way, drops, sets that reach over the cuts: one order."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=10, missing=(('rear', 2), ('front', 5)))
    values = {
        'model_names': ['a', 'b', 'c'],
        'models': {
            'a': {'bundle': str(tmp_path / 'means'), 'max_batch': 1},
            'b': {'bundle': str(tmp_path / 'means'), 'max_batch': 1},
            'c': {'bundle': str(tmp_path / 'means'), 'max_rate_hz': 5.0},
        },
    }
    runs = []
    for size in (3, 4, 256):
        runs.append(run(
            tmp_path, bag, str(size), values=values, has_results=False, part_messages=size
        ))
    for table in REPEATING:
        assert len({(output / table).read_bytes() for output in runs}) == 1
    stamps = [stamp for stamp, *_ in read_rows(runs[0] / 'timings.parquet', ('stamp_ns',))]
    assert stamps == sorted(stamps)


def messages_of(output: Path) -> list[tuple[str, int, bytes]]:
    with open_bag(output / RESULTS) as results:
        return [(m.topic, m.time_ns, bytes(m.data)) for m in results.messages()]


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    output = run(tmp_path, drawn_bag(tmp_path / 'drawn.mcap', frames=2))
    before = (output / 'timings.parquet').read_bytes()
    run(tmp_path, tmp_path / 'drawn.mcap', resume=True)
    assert (output / 'timings.parquet').read_bytes() == before


def test_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=2)
    run(tmp_path, bag)
    with pytest.raises(ReplayError, match='config synchronizer max_wait_ms was 40.0 and is 50.0'):
        run(tmp_path, bag, resume=True, values={'synchronizer': {'max_wait_ms': 50.0}})
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'file').touch()
    with pytest.raises(ReplayError, match='no run: name another place'):
        run(tmp_path, bag, 'other', overwrite=True)
    assert (tmp_path / 'other' / 'file').exists()


def test_a_bag_in_the_output_is_spared(tmp_path: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=2)
    output = run(tmp_path, bag)
    for inside in (output / RESULTS, output):
        with pytest.raises(ReplayError, match='lies in the output .*: name another place'):
            run(tmp_path, inside, overwrite=True)
    assert (output / RESULTS).is_file()


@pytest.mark.parametrize('when', ['begin', 'part', 'end'])
def test_a_full_disk_is_said_and_costs_no_part_that_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap')
    options = {'has_results': False, 'part_messages': 6}
    full = OSError(errno.ENOSPC, 'No space left on device')
    with monkeypatch.context() as patch, pytest.raises(ReplayError, match='No space left'):
        if when == 'end':
            patch.setattr(Path, 'replace', Mock(side_effect=full))
        else:
            write = parts_module.write_text
            effects = [full] if when == 'begin' else [DEFAULT, DEFAULT, DEFAULT, full]
            patch.setattr(parts_module, 'write_text', Mock(wraps=write, side_effect=effects))
        run(tmp_path, bag, **options)
    resumed = run(tmp_path, bag, resume=True, **options)
    whole = run(tmp_path, bag, 'whole', **options)
    for table in REPEATING:
        assert (resumed / table).read_bytes() == (whole / table).read_bytes()


def test_a_part_of_the_bag(tmp_path: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap')
    output = run(
        tmp_path, bag, start_s=0.15, end_s=0.55, cameras=('rear',), has_results=False
    )
    stamps = [row[0] // MS for row in read_rows(output / f'{FRAMES}.parquet', ('stamp_ns',))]
    assert stamps == [1200, 1300, 1400, 1500]
    assert not (output / RESULTS).exists()
    nothing = run(tmp_path, bag, 'nothing', start_s=100.0)
    assert summarise([nothing])['problems'] == ['there is no image of these cameras in this time']
    with pytest.raises(ConfigError, match='no cameras left: expected some of front, rear'):
        run(tmp_path, bag, 'none', cameras=('left',))


def test_what_cannot_be_used_costs_itself_and_is_told(tmp_path: Path) -> None:
    """A stamp of 0, a file cut off, a message of another type, and a topic that is not there."""
    bag = tmp_path / 'bad.mcap'
    with BagWriter(bag) as writer:
        topic, whole = '/front/image_raw/compressed', jpeg()
        for index, (stamp, data) in enumerate(
            ((1000, whole), (1100, whole[: len(whole) // 2]), (0, whole), (1300, whole))
        ):
            head = messages.header(stamp * MS, 'front')
            writer.write(topic, messages.image_file(head, data, 'jpeg'), (1000 + 100 * index) * MS)
        info = messages.label_info(messages.header(1400 * MS, 'front'), ['red'])
        writer.write(topic, info, 1400 * MS)
    output = run(tmp_path, bag)
    assert outcomes(output) == {
        ('inferred', ''): 2, ('dropped', 'undecodable'): 1, ('dropped', 'invalid'): 2,
        ('missing', 'missing'): 3,
    }
    assert summarise([output])['problems'] == ['camera rear: there is no topic /rear/image_raw']


def jpeg() -> bytes:
    import cv2

    from test.builders import picture

    return cv2.imencode('.jpg', picture(96, 64))[1].tobytes()


def test_a_bag_that_was_cut_off_is_replayed_as_far_as_it_goes(tmp_path: Path) -> None:
    whole_bag, cut_bag = tmp_path / 'drawn.db3', tmp_path / 'cut.mcap'
    drawn_bag(whole_bag, frames=4)
    cut_bag.write_bytes(drawn_bag(tmp_path / 'drawn.mcap', frames=4).read_bytes()[:-200])
    whole, cut = (run(tmp_path, path, path.stem) for path in (whole_bag, cut_bag))
    assert outcomes(whole) == {('inferred', ''): 8}
    assert outcomes(cut)['inferred', ''] > 0
    assert any('damaged' in problem for problem in summarise([cut])['problems'])


def test_a_configuration_without_cameras_takes_those_of_the_bag(tmp_path: Path) -> None:
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=2, cameras=('left', 'right'))
    output = run(tmp_path, bag, values={'camera_names': ['']})
    rows = read_rows(output / f'{FRAMES}.parquet', ('camera',))
    assert Counter(rows) == {('left',): 2, ('right',): 2}


def test_it_says_what_the_running_pipeline_says(tmp_path: Path) -> None:
    """The threads of the node and the replay are two drivers of one pipeline: equal to the bit."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=5)
    settings = config(tmp_path, 'onnxruntime')
    output = tmp_path / 'out'
    play(ReplayOptions(bag, output, settings, has_results=False))
    replayed = {answer.key: answer for answer in answers(output, 'colours')}
    live: list[Result] = []
    model = open_model('colours', settings, ignore={})
    pipeline = ThreadedPipeline(settings, {'colours': model}, live.append)
    pipeline.start()
    with open_bag(bag) as opened:
        topics = {name: f'/{name}/image_raw' for name in settings.cameras}
        for count, frame in enumerate(frames(opened, topics), 1):
            pipeline.receive(replace(frame, received_ns=time.monotonic_ns()))
            while count % 2 == 0 and len(live) < count:
                time.sleep(0.002)
    pipeline.stop()
    model.engine.close()
    assert len(live) == len(replayed) == 10
    for result in live:
        found, same = result.detections, replayed[result.frame.camera, result.frame.stamp_ns]
        assert found is not None and len(found) == 3
        np.testing.assert_array_equal(found.boxes, same.boxes)
        np.testing.assert_array_equal(found.scores, same.scores)
