"""From a run's folder to a bundle that the runtime opens, and a card that says how it was made."""

import json
from pathlib import Path
from typing import Any

from builders import make_config, sources
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from perception_ros.bundles import Bundle
from perception_ros.bundles.manifest import MaskInfo
from perception_training.cli import app
from perception_training.config import Config
from perception_training.data.readers import open_source
from perception_training.delivering.bundle import make_bundle, pictures
from perception_training.delivering.card import Facts, write_card
from perception_training.delivering.engines import measure_engines, of_checkpoint, opened
from perception_training.delivering.proof import Agreement, prove, with_image
from perception_training.errors import TrainingError
from perception_training.fitting.loop import fit, restored
from perception_training.fitting.record import read_record, start_record
from perception_training.models import MASKS
from perception_training.reporting.page import render
from perception_training.reporting.runs import read_run

pytestmark = pytest.mark.filterwarnings('default')
PERSON = {'semantic_classes': {'person': 'pedestrian'}}
CHANGES: dict[str, Any] = {
    'width': 96, 'height': 64, 'labels__boxes': ('car', 'person'), 'fit__steps': 2,
    'data__train': [{'reader': 'shapes', 'count': 6, **PERSON}],
    'data__val': [{'reader': 'shapes', 'count': 2, 'seed': 1, **PERSON}],
    'bundle__data': [{'name': 'shapes', 'use': 'all', 'licence': 'none'}],
    'bundle__limits': ['It has seen two steps.'], 'bundle__semantic_stride': 2}


@pytest.fixture(scope='module')
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Bundle]:
    """Give a run of two steps and its bundle."""
    folder = tmp_path_factory.mktemp('run')
    config = make_config(folder, **CHANGES)
    for _ in range(2):
        start_record(config, ['perception_train', 'fit'])
    fit(config, [open_source(config.data.train[0], config.labels, folder)])
    return config, make_bundle(config, folder / 'tiny')


def test_the_bundle_says_what_it_is_and_how_it_was_made(made: tuple[Config, Bundle]) -> None:
    config, bundle = made
    manifest = Bundle.load(bundle.path).manifest
    assert manifest.tasks == ('detection', 'semantic:scene')
    assert manifest.provenance.commit == read_record(config.run_dir)['commit']
    assert manifest.provenance.metrics['shapes_1_n'].keys() == {'car', 'person'}
    card = (bundle.path / 'CARD.md').read_text()
    for said in ('2 steps of 2 images', 'Resumed', 'Mask `scene`, shapes 1, 2 images: mIoU',
                 'Boxes, shapes 1, 2 images: mAP50', '| 5 | 5 |', '- It has seen two steps.'):
        assert said in card, said
    assert str(config.run_dir) not in card


def test_the_proof_sees_weights_that_are_not_the_bundles(made: tuple[Config, Bundle]) -> None:
    """A proof that cannot fail proves nothing."""
    config, bundle = made
    network = restored(config).network
    assert all(row.ok for row in prove(network, config, bundle, pictures(config)))
    with torch.no_grad():
        network.heads['scene'].classes.bias[0] += 9
        network.heads['boxes'].levels[0].objectness.bias += 0.1
    with pytest.raises(TrainingError, match=r'batch 1: .*; batch 2: .*; batch 5: '):
        prove(network, config, bundle, pictures(config))


def test_checkpoint_and_every_engine_give_the_same_numbers(
    made: tuple[Config, Bundle]
) -> None:
    config, bundle = made
    with opened(config, bundle.path, ['all']) as (contenders, absent):
        rows = measure_engines(config, contenders)
    assert {'checkpoint', 'onnxruntime', 'openvino'} <= set(rows)
    assert not set(rows) & set(absent)
    for name in ('onnxruntime', 'openvino'):
        assert rows[name].agreement.ok and rows[name].agreement.images == 2
        assert rows[name].agreement.boxes > 0
        assert rows[name].metrics == rows['checkpoint'].metrics
    page = render([read_run(config.run_dir)])
    assert 'The same answers: onnxruntime, openvino' in page
    assert page.count('data:image/jpeg;base64,') >= 2  # worst images of both heads


def test_an_engine_that_answers_otherwise_is_flagged(made: tuple[Config, Bundle]) -> None:
    config, bundle = made
    trained = restored(config)
    with torch.no_grad():
        trained.network.heads['scene'].classes.bias[0] += 9
    with opened(config, bundle.path, ['onnxruntime']) as (engines, _):
        rows = measure_engines(config, {'changed': of_checkpoint(config, trained), **engines})
    assert rows['onnxruntime'].agreement.cells > 0.1
    assert not rows['onnxruntime'].agreement.ok
    assert json.loads((config.run_dir / 'evaluation' / 'onnxruntime.json').read_text())[
        'agreement']['ok'] is False


def test_the_command_measures_a_part_and_writes_the_page(made: tuple[Config, Bundle]) -> None:
    config, bundle = made
    done = CliRunner().invoke(app, [
        'evaluate', '--config', str(config.run_dir / 'config.yaml'), '--bundle', str(bundle.path),
        '--backend', 'openvino', '--backend', 'onnxruntime', '--images', '1', '--report'])
    assert done.exit_code == 0, done.output
    assert 'onnxruntime agrees: batch 1: ' in done.output
    assert f'{config.run_dir}/report.html: ' in done.output
    assert '1 of 2 images' in (config.run_dir / 'report.html').read_text()


def test_engines_need_a_bundle(config: Config) -> None:
    with pytest.raises(TrainingError, match='expected --bundle'), \
            opened(config, None, ['checkpoint', 'openvino']):
        pass


def test_a_checkpoint_that_was_chosen_is_said_on_the_card(made: tuple[Config, Bundle]) -> None:
    config, bundle = made
    assert 'end of the schedule (`last.pt`)' in (bundle.path / 'CARD.md').read_text()
    facts = Facts(read_record(config.run_dir), 2, 0.1, {}, {}, (), chosen=True)
    assert 'at the step that did best on the validation images (`best.pt`' in write_card(
        bundle.manifest, config, facts)


@pytest.mark.parametrize(('rows', 'wrong'), [(0, 0), (2, 108)], ids=['same', 'two-rows-more'])
def test_masks_are_compared_by_the_pixels_of_their_boxes(rows: int, wrong: int) -> None:
    """Of 60 x 40 px, of which 6 x 40 lie beyond the input and do not count."""
    masks = np.zeros((2, 1, 64, 96), bool)
    masks[0, 0, 10:30, :54] = masks[1, 0, 10:30 + rows, :54] = True
    ours, theirs = ({
        'boxes': np.array([[-6, 10, 54, 50]], np.float32), 'labels': np.zeros(1, np.int32),
        'scores': np.array([0.9], np.float32), MASKS: mask} for mask in masks)
    found = with_image(Agreement(1, 0), ours, theirs, (96, 64))
    assert (found.mask_px, found.mask_wrong_px) == (54 * 40, wrong)
    assert found.ok == (rows == 0)


def test_the_card_says_how_good_masks_are(made: tuple[Config, Bundle]) -> None:
    config, bundle = made
    numbers = {'images': 2, 'map50': 0.5, 'map': 0.25, 'classes': {
        'car': {'n': 3, 'ap50': 0.5, 'ap': 0.25}, 'person': {'n': 0, 'ap50': 0.0, 'ap': 0.0}}}
    detection = bundle.manifest.detection
    assert detection is not None
    manifest = bundle.manifest.model_copy(update={'detection': detection.model_copy(
        update={'masks': MaskInfo(height=28, width=28)})})
    facts = Facts(read_record(config.run_dir), 2, 0.1, {'streets': {MASKS: numbers}}, {},
                  [Agreement(1, 6, 10, mask_px=4000, mask_wrong_px=2)])
    card = write_card(manifest, config, facts)
    for said in ('Boxes of car, person, each with its mask.', '| car | 3 | 0.500 | 0.250 |',
                 'Masks of the boxes, streets, 2 images: mAP50 0.500', '| 0.050% |'):
        assert said in card, said


def test_without_a_record_there_is_no_bundle(tmp_path: Path) -> None:
    config = make_config(tmp_path, fit__steps=1)
    fit(config, sources())
    with pytest.raises(TrainingError, match='perception_train fit'):
        make_bundle(config, tmp_path / 'tiny')


def test_a_resumption_is_noted_and_the_beginning_kept(config: Config) -> None:
    """Weights of a run that was changed on the way must not claim one commit."""
    start_record(config, ['perception_train', 'fit'])
    first = read_record(config.run_dir)
    start_record(config, ['perception_train', 'fit', 'fit.threads=1'])
    record = read_record(config.run_dir)
    assert record['started'] == first['started']
    assert [r['command'][-1] for r in record['resumed']] == ['fit.threads=1']
