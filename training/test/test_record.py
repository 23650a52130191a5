"""A run says how it was made, and the card repeats it."""

import pytest

from perception_ros.bundles.manifest import (
    ClassInfo,
    DetectionInfo,
    GraphInfo,
    InputInfo,
    LicenceInfo,
    Manifest,
    ProvenanceInfo,
    SemanticInfo,
)
from perception_ros.bundles.proof import Proof
from perception_training.card import write_card
from perception_training.config import Config
from perception_training.record import read_record, start_record

CAR = ClassInfo(name='car', color=(1, 2, 3))
METRICS = {
    'camvid_val': {'images': 101, 'miou': 0.5, 'pixel_accuracy': 0.9, 'iou': {'car': 0.75}},
    'idd_val': {'images': 56, 'map50': 0.25, 'classes': {
        'car': {'n': 122, 'ap50': 0.625, 'ap': 0.375}, 'bus': {'n': 0, 'ap50': 0.0, 'ap': 0.0}}},
    'idd_val_start': {'classes': {'car': {'n': 122, 'ap50': 0.5}}}}


def test_a_resumption_is_noted_and_the_beginning_kept(config: Config) -> None:
    """Weights of a run that was changed on the way must not claim one commit."""
    start_record(config, ['perception_train', 'fit'])
    first = read_record(config.run_dir)
    start_record(config, ['perception_train', 'fit', 'threads=1'])
    record = read_record(config.run_dir)
    assert record['started'] == first['started']
    assert [r['command'][-1] for r in record['resumed']] == ['threads=1']


def test_without_a_record_there_is_no_card(config: Config) -> None:
    with pytest.raises(FileNotFoundError, match='perception_train fit'):
        read_record(config.run_dir)


def test_the_card_says_what_was_measured_and_what_was_not(config: Config) -> None:
    """A number without n, or a zero where nothing was measured, would mislead."""
    manifest = Manifest(
        name='road', description='A test.', input=InputInfo(width=128, height=96),
        detection=DetectionInfo(classes=(CAR,), max_detections=5),
        semantic={'scene': SemanticInfo(stride=2, classes=(CAR,))}, graph=GraphInfo.of(b''),
        provenance=ProvenanceInfo(source='here', data='some'),
        licence=LicenceInfo(weights='research', data='research'))
    start_record(config, ['perception_train', 'fit'])
    start_record(config, ['perception_train', 'fit'])
    card = write_card(manifest, read_record(config.run_dir), {'steps': 7, 'minutes': 1.5},
                      METRICS, Proof('6 given images', ()), config)
    assert 'mIoU 0.500' in card
    assert 'train holds 204 frames' in card
    assert '| car | 122 | 0.625 | 0.375 | 0.500 |' in card
    assert '| bus | 0 | - | - | - |' in card
    assert '2018-05-22' in card
    assert 'Resumed' in card
    assert str(config.run_dir) not in card
