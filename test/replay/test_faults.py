"""Each kind of fault through the pipeline: it causes what it must, and costs nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from hypothesis import given, HealthCheck, settings
import pytest

from perception_ros.bags.bag import open_bag
from perception_ros.cli.main import main
from perception_ros.core.errors import ReplayError
from perception_ros.faults.inject import Injector
from perception_ros.faults.plan import FaultPlan, read_faults
from perception_ros.replay.effects import measure
from perception_ros.replay.limits import check, Limit
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.parts import RunFolder
from perception_ros.replay.run import play
from perception_ros.replay.tables import DETECTIONS, FRAMES, read_rows, SCHEMAS, write_rows
from test.faults.build import CAMERAS, plan, small_bag, write_plan
from test.faults.test_inject import PLANS
from test.replay.drawn import config, configuration, drawn_bag

ROOT = Path(__file__).parents[2]
FRONT = {'cameras': ['front'], 'from_s': 1, 'to_s': 2}
BOTH = {'from_s': 1, 'to_s': 2}
TABLES = ('detections.parquet', 'frames.parquet', 'faults.parquet')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a bag of three seconds, its settings, and a replay without faults."""
    folder = tmp_path_factory.mktemp('drawn')
    bag = drawn_bag(folder / 'drawn.mcap', frames=30)
    play(ReplayOptions(bag, folder / 'whole', config(folder), has_results=False))
    return folder


def effect(
    folder: Path, output: Path, *faults: dict[str, Any], values: Mapping[str, Any] = {},
    **options: Any,
) -> list[dict[str, Any]]:
    bag = options.pop('bag', folder / 'drawn.mcap')
    settings = config(folder, **values)
    play(ReplayOptions(
        bag, output, settings, faults=plan(*faults), has_results=False, **options))
    return measure(output)


def detections(output: Path) -> dict[tuple[str, int], list[tuple[Any, ...]]]:
    """Return what was found by frame."""
    found: dict[tuple[str, int], list[tuple[Any, ...]]] = {}
    columns = ('camera', 'stamp_ns', 'class', 'x1', 'y1', 'x2', 'y2')
    for camera, stamp_ns, *rest in read_rows(output / 'detections.parquet', columns):
        found.setdefault((camera, stamp_ns), []).append(tuple(rest))
    return found


@pytest.mark.parametrize(('fault', 'figures'), [
    ({'kind': 'drop', **FRONT}, {'removed': 10, 'noticeable': 10, 'noticed': 10}),
    ({'kind': 'drop', **BOTH}, {'removed': 20}),
    ({'kind': 'lose_camera', **FRONT}, {'removed': 10, 'noticeable': 10, 'noticed': 10}),
    ({'kind': 'delay', 'by_ms': 30, **FRONT}, {'changed': 10, 'inferred': 10}),
    ({'kind': 'delay', 'by_ms': 150, **FRONT}, {'changed': 11, 'inferred': 11, 'alone': 11}),
    ({'kind': 'delay', 'by_ms': 1500, **FRONT}, {'inferred': 20}),
    ({'kind': 'jitter', 'max_ms': 150, 'from_s': 1}, {'changed': 40, 'inferred': 40}),
    ({'kind': 'duplicate', **BOTH}, {'added': 20, 'inferred': 20, 'duplicate': 20}),
    ({'kind': 'duplicate', 'after_ms': 250, **BOTH}, {'inferred': 20, 'out_of_order': 20}),
    ({'kind': 'reorder', 'by_ms': 150, 'cameras': ['front'], 'every_s': 0.5, 'for_s': 0.1},
     {'changed': 6, 'inferred': 0, 'out_of_order': 6}),
    ({'kind': 'freeze', **BOTH}, {'changed': 18, 'inferred': 18, 'detections': 18, 'differ': 0}),
    ({'kind': 'corrupt', **FRONT}, {'changed': 10, 'refused': 10}),
    ({'kind': 'corrupt', 'how': 'size', **FRONT}, {'changed': 10, 'refused': 10}),
    ({'kind': 'corrupt', 'how': 'bytes', **FRONT}, {'changed': 10, 'inferred': 10}),
    ({'kind': 'darken', **FRONT}, {'inferred': 10, 'detections': 0}),
    ({'kind': 'blind', **FRONT}, {'inferred': 10, 'detections': 0}),
    ({'kind': 'skew', 'offset_ms': 20, **FRONT}, {'inferred': 10, 'alone': 0}),
    ({'kind': 'skew', 'offset_ms': 50, **FRONT}, {'inferred': 10, 'alone': 10}),
    ({'kind': 'skew', 'offset_ms': -250, **FRONT}, {'inferred': 8, 'out_of_order': 2}),
    ({'kind': 'skew', 'offset_ms': 250, **FRONT}, {'inferred': 10, 'others_lost': 2}),
    ({'kind': 'jump', 'by_s': 3600, **BOTH}, {'inferred': 20, 'others_lost': 0}),
    ({'kind': 'jump', 'by_s': -0.45, **BOTH}, {'inferred': 16, 'out_of_order': 4}),
    ({'kind': 'jump', 'by_s': -0.95, **BOTH}, {'inferred': 16, 'out_of_order': 4}),
], ids=lambda value: '_'.join(map(str, value.values())) if 'kind' in value else None)
def test_a_fault_causes_what_it_must_and_nothing_else(
    drawn: Path, tmp_path: Path, fault: dict[str, Any], figures: dict[str, int]
) -> None:
    [found] = effect(drawn, tmp_path / 'out', fault)
    assert found['is_met'] is True, found
    assert {key: found['measured'][key] for key in figures} == figures
    assert found['measured']['lost'] == found['measured']['vanished'] == 0
    # frames that it has not touched have their results, to the last bit of a box
    touched = {
        (camera, stamp_ns) for row in read_rows(
            tmp_path / 'out' / 'faults.parquet', ('camera', 'was_ns', 'stamp_ns'))
        for camera, stamp_ns in ((row[0], row[1]), (row[0], row[2]))
    }
    before, after = detections(drawn / 'whole'), detections(tmp_path / 'out')
    untouched = before.keys() - touched
    assert len([key for key in untouched if before[key] != after.get(key)]) \
        == found['measured']['others_lost']


def test_faults_after_one_another(drawn: Path, tmp_path: Path) -> None:
    """What two have touched is the doing of neither, and is set aside."""
    late, gone = effect(
        drawn, tmp_path / 'out', {'kind': 'delay', 'by_ms': 150, **FRONT},
        {'kind': 'drop', 'cameras': ['front'], 'from_s': 1.5},
    )
    assert late['is_met'] and gone['is_met']
    assert (late['messages'], late['measured']['set_aside'], late['measured']['inferred']) \
        == (11, 7, 4)
    assert gone['messages'] == 16
    assert gone['measured']['set_aside'] == 7


def test_a_fault_that_never_strikes_is_not_measured(drawn: Path, tmp_path: Path) -> None:
    [found] = effect(drawn, tmp_path / 'out', {'kind': 'drop', 'from_s': 100})
    assert (found['messages'], found['is_met']) == (0, None)
    for table in TABLES[:2]:
        assert (tmp_path / 'out' / table).read_bytes() == (drawn / 'whole' / table).read_bytes()
    [kept] = check([Limit.parse('faults.drop.is_met == 1')], {'faults': [found]})
    assert str(kept) == 'faults.drop.is_met == 1: nothing was measured'


def test_what_comes_after_the_end_is_not_missed(drawn: Path, tmp_path: Path) -> None:
    [found] = effect(
        drawn, tmp_path / 'out', {'kind': 'delay', 'by_ms': 250}, start_s=0.5, end_s=1.5)
    assert found['messages'] == 20
    assert found['measured']['set_aside'] == 4
    assert found['is_met'] is True


@pytest.mark.parametrize('policy', ['exact', 'approximate'])
def test_where_sets_must_be_complete_nobody_is_missing(
    drawn: Path, tmp_path: Path, policy: str
) -> None:
    [found] = effect(
        drawn, tmp_path / 'out', {'kind': 'lose_camera', **FRONT},
        values={'synchronizer': {'policy': policy}},
    )
    configuration(drawn)
    assert found['is_met'] is True
    assert 'are unmatched' in found['expected']
    rows = read_rows(tmp_path / 'out' / 'frames.parquet', ('camera', 'reason'))
    assert sum(row == ('rear', 'unmatched') for row in rows) == 10


def test_where_sets_must_be_complete_a_late_frame_may_cost_its_partner(
    drawn: Path, tmp_path: Path
) -> None:
    """Which waited for longer than `max_age_ms`, as such a policy lets it."""
    [found] = effect(
        drawn, tmp_path / 'out', {'kind': 'delay', 'by_ms': 700, **FRONT},
        values={'synchronizer': {'policy': 'approximate'}},
    )
    configuration(drawn)
    reasons = Counter(read_rows(tmp_path / 'out' / 'frames.parquet', ('camera', 'reason')))
    assert reasons['rear', 'stale'] == 10
    assert found['is_met'] is True and found['measured']['others_lost'] == 0


def test_copies_after_the_end_of_the_bag_look_like_another_clock(
    drawn: Path, tmp_path: Path
) -> None:
    """So many old stamps in a row are looked at again, which is not the doing of the fault."""
    [found] = effect(drawn, tmp_path / 'out', {'kind': 'duplicate', 'after_ms': 500})
    assert found['is_met'] is True
    assert found['measured']['set_aside'] == 10
    assert found['measured']['out_of_order'] == 50


def test_what_a_wrong_clock_costs_is_not_the_doing_of_others(drawn: Path, tmp_path: Path) -> None:
    dark, skewed, lost = effect(
        drawn, tmp_path / 'out', {'kind': 'darken', 'cameras': ['front'], 'from_s': 2},
        {'kind': 'skew', 'offset_ms': 450, **FRONT}, {'kind': 'drop', 'cameras': ['rear']},
    )
    assert skewed['measured']['others_lost'] == 0, 'both that it cost were dark'
    assert dark['measured']['set_aside'] == 10 and dark['is_met'] is None
    assert lost['is_met'] is True


def test_a_frozen_picture_in_which_something_else_is_found_is_told(
    drawn: Path, tmp_path: Path
) -> None:
    output = tmp_path / 'out'
    effect(drawn, output, {'kind': 'freeze', **FRONT})
    change_row(output, DETECTIONS, {'class': 'tree'})
    [found] = measure(output)
    assert (found['measured']['differ'], found['is_met']) == (1, False)


def change_row(output: Path, table: str, values: dict[str, str]) -> None:
    """Change what a table says of the front camera at 2.5 s."""
    names = SCHEMAS[table].names
    rows = [
        tuple(values.get(name, value) for name, value in zip(names, row, strict=True))
        if row[:2] == ('front', 2_500_000_000) else row
        for row in read_rows(output / f'{table}.parquet', names)
    ]
    write_rows(output / f'{table}.parquet', table, rows)


def test_frames_that_are_passed_over_are_not_lost_to_a_fault(drawn: Path, tmp_path: Path) -> None:
    """The model looks at every second one, and in real time the machine may be too slow."""
    model = {'bundle': str(drawn / 'means'), 'max_rate_hz': 5.0}
    output = tmp_path / 'out'
    [found] = effect(
        drawn, output, {'kind': 'blind', **FRONT}, values={'models': {'colours': model}})
    configuration(drawn)
    assert (found['measured']['inferred'], found['measured']['passed_over']) == (5, 5)
    assert found['is_met'] is True
    change_row(output, FRAMES, {'outcome': 'dropped', 'reason': 'superseded'})
    [found] = measure(output)
    assert (found['measured']['lost'], found['is_met']) == (1, False)
    folder = RunFolder(output)
    folder.write_about({**folder.read_about(), 'realtime': {'rate': 1.0}})
    [found] = measure(output)
    assert (found['measured']['lost'], found['is_met']) == (0, True)


def test_cameras_that_count_by_arrival_do_not_mind_a_wrong_clock(
    drawn: Path, tmp_path: Path
) -> None:
    """The frame of a message is known by its time of recording there, not by its stamp."""
    sources = {name: {'stamp_source': 'arrival'} for name in ('front', 'rear')}
    late, skewed = effect(
        drawn, tmp_path / 'out', {'kind': 'delay', 'by_ms': 50, 'cameras': ['rear']},
        {'kind': 'skew', 'offset_ms': 300, **FRONT}, values={'cameras': sources},
    )
    configuration(drawn)
    assert skewed['measured']['inferred'] == 10 and skewed['measured']['others_lost'] == 0
    assert late['measured']['inferred'] == late['measured']['alone'] == 30


def test_a_camera_alone_is_in_nobodys_sets(tmp_path: Path) -> None:
    configuration(tmp_path, camera_names=['front'])
    bag = drawn_bag(tmp_path / 'one.mcap', frames=10, cameras=('front',))
    lost, late = effect(
        tmp_path, tmp_path / 'out', {'kind': 'drop', 'probability': 0.3},
        {'kind': 'delay', 'by_ms': 500}, bag=bag, values={'camera_names': ['front']},
    )
    assert lost['is_met'] and lost['measured']['noticeable'] == 0
    assert late['is_met'] and late['measured']['inferred'] == 10 - lost['messages']
    assert late['measured']['alone'] == 0


def test_files_of_pictures_and_lidars(tmp_path: Path) -> None:
    """Where the camera is not told by its topic's name alone, and is a JPEG that is cut off."""
    bag = small_bag(tmp_path / 'small.mcap', size=(96, 64))
    cut, blind, lidar = effect(
        tmp_path, tmp_path / 'out', {'kind': 'corrupt', 'cameras': ['rear'], 'to_s': 1},
        {'kind': 'blind', 'cameras': ['rear'], 'from_s': 1, 'how': 'white'},
        {'kind': 'lose_lidar', 'from_s': 1}, bag=bag,
    )
    assert (cut['measured']['refused'], cut['is_met']) == (10, True)
    assert (blind['measured']['inferred'], blind['is_met']) == (10, True)
    assert (lidar['messages'], lidar['topics'], lidar['is_met']) == (10, ['/top/points'], True)
    reasons = set(read_rows(tmp_path / 'out' / 'frames.parquet', ('camera', 'reason')))
    assert reasons == {('front', ''), ('rear', ''), ('rear', 'undecodable')}


@settings(max_examples=15, deadline=None, suppress_health_check=[
    HealthCheck.function_scoped_fixture])
@given(found=PLANS)
def test_every_frame_that_comes_is_looked_at_or_has_a_record(
    tmp_path: Path, found: FaultPlan
) -> None:
    """Whatever goes wrong at once, and however often it does."""
    bag = tmp_path / 'small.mcap'
    if not bag.exists():
        small_bag(bag, size=(96, 64))
    play(ReplayOptions(
        bag, tmp_path / 'out', config(tmp_path), faults=found, has_results=False, overwrite=True))
    with open_bag(bag) as opened:
        came = Counter(
            CAMERAS[message.topic]
            for message in Injector(found, opened, CAMERAS).messages([*CAMERAS])
        )
    rows = read_rows(tmp_path / 'out' / 'frames.parquet', ('camera', 'outcome', 'reason'))
    frames = [row for row in rows if row[1] != 'missing']
    assert Counter(camera for camera, *_ in frames) == came
    assert not {reason for *_, reason in frames} & {'failed', 'stale', 'superseded', 'unmatched'}
    assert len(measure(tmp_path / 'out')) == len(found.faults)


MANY = (
    {'kind': 'drop', 'probability': 0.1}, {'kind': 'jitter', 'max_ms': 120, 'from_s': 0.5},
    {'kind': 'duplicate', 'probability': 0.2, 'after_ms': 60},
    {'kind': 'freeze', 'cameras': ['rear'], 'for_s': 0.4, 'probability': 0.5},
    {'kind': 'corrupt', 'probability': 0.1}, {'kind': 'jump', 'by_s': -0.25, **BOTH},
)


def test_a_run_with_faults_that_was_cut_off_and_resumed_equals_an_undisturbed_one(
    drawn: Path, tmp_path: Path
) -> None:
    whole = effect(drawn, tmp_path / 'whole', *MANY)
    for stop in (9, 31):
        calls = iter(range(stop))

        def tell(share: float, calls: Any = calls) -> None:
            if next(calls, None) is None:
                raise KeyboardInterrupt

        options = ReplayOptions(
            drawn / 'drawn.mcap', tmp_path / 'cut', config(drawn), faults=plan(*MANY),
            has_results=False, resume=True, part_messages=7,
        )
        with pytest.raises(KeyboardInterrupt):
            play(options, tell)
    assert effect(drawn, tmp_path / 'cut', *MANY, resume=True, part_messages=7) == whole
    for table in TABLES:
        assert (tmp_path / 'cut' / table).read_bytes() == (tmp_path / 'whole' / table).read_bytes()
    assert all(item['messages'] for item in whole)


def test_a_run_is_not_gone_on_with_under_other_faults(drawn: Path, tmp_path: Path) -> None:
    """Faults are compared by what the file says, wherever it lies."""
    output = tmp_path / 'out'
    effect(drawn, output, {'kind': 'drop', 'probability': 0.1})
    effect(drawn, output, {'kind': 'drop', 'probability': 0.1, 'seed': 0}, resume=True)
    with pytest.raises(ReplayError, match='faults 0 probability was 0.1 and is 0.2. Begin anew'):
        effect(drawn, output, {'kind': 'drop', 'probability': 0.2}, resume=True)
    with pytest.raises(ReplayError, match='faults was .* and is None'):
        play(ReplayOptions(
            drawn / 'drawn.mcap', output, config(drawn), has_results=False, resume=True))


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def test_a_bag_that_was_cut_with_faults_replays_as_with_them(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What any player shows of it is what was measured, also of a part."""
    file = write_plan(tmp_path / 'faults.yaml', *MANY)
    span = ('--start', '0.45', '--end', '2.5')
    bag, faulty = drawn / 'drawn.mcap', tmp_path / 'faulty.mcap'
    replay = ('replay', '--config', configuration(drawn), '--no-results')
    assert call('bag', 'cut', bag, faulty, '--faults', file, *span) == 0
    assert 'duplicate: ' in capsys.readouterr().out
    assert call(*replay, bag, '--output', tmp_path / 'a', '--faults', file, *span) == 0
    assert call(*replay, faulty, '--output', tmp_path / 'b') == 0
    for table in TABLES[:2]:
        assert (tmp_path / 'a' / table).read_bytes() == (tmp_path / 'b' / table).read_bytes()
    with open_bag(faulty) as opened:
        assert '/front/ground_truth/detections' in opened.topics, 'what is not struck is there'


def test_the_command_says_what_was_expected_and_what_came(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_plan(tmp_path / 'faults.yaml', {'kind': 'corrupt', 'name': 'cut_off', **FRONT})
    limits = tmp_path / 'limits.yaml'
    limits.write_text(
        'limits: [faults.cut_off.is_met == 1, faults.cut_off.measured.refused < 10]')
    status = call(
        'replay', drawn / 'drawn.mcap', '--config', configuration(drawn), '--output',
        tmp_path / 'out', '--faults', file, '--limits', limits, '--no-results',
    )
    said = capsys.readouterr()
    assert status == 1, 'one limit is broken'
    assert 'faults.cut_off.is_met == 1: 1, kept' in said.out
    assert 'faults.cut_off.measured.refused < 10: 10, broken' in said.err
    assert 'each frame is refused' in said.out and '10 refused' in said.out
    [found] = json.loads((tmp_path / 'out' / 'summary.json').read_text())['faults']
    assert (found['cameras'], found['topics']) == (['front'], ['/front/image_raw'])
    assert found['settings'] == {'how': 'truncate', 'share': 0.5}
    assert found['window'] == {
        'from_s': 1.0, 'to_s': 2.0, 'every_s': None, 'for_s': None, 'probability': 1.0, 'seed': 0,
    }
    limits.write_text('limits: [faults.cut.is_met == 1]')
    status = call(
        'replay', drawn / 'drawn.mcap', '--config', configuration(drawn), '--output',
        tmp_path / 'out', '--faults', file, '--limits', limits, '--no-results', '--resume',
    )
    assert status == 1
    assert 'expected one such as faults.cut_off' in (said := capsys.readouterr().err)
    assert 'faults.cut_off.is_met' in said


def test_bad_faults_are_refused_before_anything_is_written(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_plan(tmp_path / 'faults.yaml', {'kind': 'drop', 'cameras': ['left']})
    for command in (
        ('replay', drawn / 'drawn.mcap', '--config', configuration(drawn), '--output'),
        ('bag', 'cut', drawn / 'drawn.mcap'),
    ):
        assert call(*command, tmp_path / 'out', '--faults', file) == 1
        assert 'no cameras left; expected some of front, rear' in capsys.readouterr().err
        assert not (tmp_path / 'out').exists()


def test_all_that_ships_in_the_example_is_met(tmp_path: Path) -> None:
    """`config/faults.yaml` has all kinds, each for a second or two of twenty."""
    bag = drawn_bag(tmp_path / 'drawn.mcap', frames=205)
    faults = read_faults(ROOT / 'config' / 'faults.yaml')
    kept = faults.model_copy(update={
        'faults': tuple(fault for fault in faults.faults if fault.kind != 'lose_lidar')})
    play(ReplayOptions(bag, tmp_path / 'out', config(tmp_path), faults=kept, has_results=False))
    effects = measure(tmp_path / 'out')
    assert len(effects) == len(faults.faults) - 1
    assert {item['name']: item['is_met'] for item in effects} \
        == {item['name']: True for item in effects}
