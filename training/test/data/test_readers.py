"""Readers give what the sets hold, or name the file and the line that is wrong."""

from pathlib import Path

from builders import CLASSES, SCENE
import cv2
import numpy as np
import pytest

from perception_training.config import load
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import (
    CamVidConfig,
    IddConfig,
    ShapesConfig,
    VideoConfig,
    YoloTextConfig,
)
from perception_training.data.classes import BACKGROUND, ClassMap, IGNORE
from perception_training.data.readers import open_source
from perception_training.data.readers.camvid import regions
from perception_training.data.readers.yolo import recording_date
from perception_training.data.sample import UNKNOWN, UNKNOWN_BOX
from perception_training.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
LABELS = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE})
ROADSCENE = load(ROOT / 'training/configs/roadscene.yaml')
DRIVES = ROOT / 'training/splits/idd_val_drives.txt'
MOTORBIKE = {'motorbike': IGNORE}


def write_camvid(folder: Path, ids: np.ndarray) -> CamVidConfig:
    for name in ('images', 'labels'):
        (folder / 'camvid/train' / name).mkdir(parents=True)
    image = np.zeros((*ids.shape[:2], 3), np.uint8)
    cv2.imwrite(str(folder / 'camvid/train/images/a.jpg'), image)
    cv2.imwrite(str(folder / 'camvid/train/labels/a.png'), ids)
    return CamVidConfig(reader='camvid', split='train')


def test_void_is_unknown_and_boxes_are_not_labelled(tmp_path: Path) -> None:
    sample = open_source(write_camvid(tmp_path, np.full((8, 9), 11, np.uint8)), LABELS,
                         tmp_path)[0]
    assert (sample.semantic['scene'] == UNKNOWN).all()
    assert not sample.labelled.any()


@pytest.mark.parametrize(('ids', 'said'), [
    pytest.param(np.full((8, 9), 77, np.uint8), r'a.png: expected class ids .* got \[77\]',
                 id='unknown-id'),
    pytest.param(np.zeros((8, 9, 3), np.uint8), 'a.png: expected one channel', id='colours'),
])
def test_a_label_map_of_something_else_is_refused(
    tmp_path: Path, ids: np.ndarray, said: str
) -> None:
    source = open_source(write_camvid(tmp_path, ids), LABELS, tmp_path)
    with pytest.raises(DataError, match=said):
        source[0]


def test_a_label_map_of_another_size_or_a_damaged_image_is_named(tmp_path: Path) -> None:
    source = open_source(write_camvid(tmp_path, np.zeros((8, 9), np.uint8)), LABELS, tmp_path)
    labels = tmp_path / 'camvid/train/labels/a.png'
    cv2.imwrite(str(labels), np.zeros((4, 4), np.uint8))
    with pytest.raises(DataError, match=r'a.png: expected 9x8 px .* got 4x4'):
        source[0]
    labels.unlink()
    with pytest.raises(DataError, match=r'a.png: .* no such file'):
        source[0]
    (tmp_path / 'camvid/train/images/a.jpg').write_bytes(b'not a picture')
    with pytest.raises(DataError, match=r'a.jpg: .* cannot be decoded'):
        source[0]


def write_text(folder: Path, lines: str, **files: str) -> YoloTextConfig:
    for name in ('images', 'labels'):
        (folder / 'set' / name).mkdir(parents=True)
    cv2.imwrite(str(folder / 'set/images/a.png'), np.zeros((50, 100, 3), np.uint8))
    (folder / 'set/labels/a.txt').write_text(lines)
    for name, text in files.items():
        (folder / 'set' / name.replace('_', '.')).write_text(text)
    return YoloTextConfig(reader='yolo', folder='set', classes=MOTORBIKE)


@pytest.mark.parametrize(('line', 'said'), [
    pytest.param('0 0.5 0.5 0.2', 'expected "class cx cy w h"', id='too-few'),
    pytest.param('car 0.5 0.5 0.2 0.2', 'expected "class cx cy w h"', id='a-name'),
    pytest.param('0 0.5 0.5 nan 0.2', 'expected "class cx cy w h"', id='no-number'),
    pytest.param('9 0.5 0.5 0.2 0.2', 'with a class of 0..1', id='unknown-id'),
])
def test_a_wrong_line_of_yolo_text_is_named(tmp_path: Path, line: str, said: str) -> None:
    config = write_text(tmp_path, f'0 0.5 0.5 0.2 0.2\n\n{line}\n', classes_txt='car\nmotorbike')
    with pytest.raises(DataError, match=f'a.txt:3: .*{said}'):
        open_source(config, LABELS, tmp_path)[0]


def test_classes_are_mapped_by_name() -> None:
    table = ClassMap('set', ('lorry', 'car', 'rider'), CLASSES,
                     {'lorry': 'truck', 'rider': IGNORE})
    assert [table.label(i, '') for i in range(3)] == [2, 0, UNKNOWN_BOX]
    assert table.labelled.tolist() == [True, False, True, False, False]


def test_a_star_stands_for_all_that_have_no_name_here() -> None:
    """Of COCO's 80 classes a road needs few: a banana is background, and no entry is needed."""
    table = ClassMap('coco', ('car', 'banana', 'rider', 'kite'), CLASSES,
                     {'rider': IGNORE, '*': BACKGROUND}, background=True)
    assert [table.label(i, '') for i in range(4)] == [0, None, UNKNOWN_BOX, None]
    assert table.labelled.tolist() == [True, False, False, False, False]
    with pytest.raises(DataError, match="class 'banana' leads to none"):
        ClassMap('coco', ('car', 'banana'), CLASSES, {'*': BACKGROUND})


@pytest.mark.parametrize(('given', 'said'), [
    pytest.param({}, "class 'lorry' leads to none of ours", id='unmapped'),
    pytest.param({'lorry': 'trcuk'}, "perhaps 'truck'", id='mistyped'),
    pytest.param({'lorry': 'truck', 'tram': 'bus'}, r"got \['tram'\]", id='not-theirs'),
])
def test_a_class_that_leads_nowhere_is_refused(given: dict[str, str], said: str) -> None:
    """What is labelled and not learnt must be a decision."""
    with pytest.raises(DataError, match=said):
        ClassMap('set', ('lorry',), CLASSES, given)


def test_connected_regions_stand_for_instances() -> None:
    ids = np.zeros((40, 60), np.uint8)
    ids[10:20, 5:20], ids[10:20, 40:50] = 8, 8
    ids[5:30, 25:30] = 9
    ids[0:2, 0:2] = 8
    table = ClassMap('camvid', ('car', 'pedestrian'), CLASSES, {'pedestrian': 'person'})
    things = regions(ids, table, 'a.png')
    assert sorted(t.label for t in things) == [UNKNOWN_BOX, 0, 0, 1]
    assert (40, 10, 50, 20) in [t.box for t in things]
    assert [t.outline.sum() for t in things] == [4, 150, 100, 125]


def test_drawn_boxes_are_the_extents_of_their_outlines() -> None:
    config = ShapesConfig(reader='shapes', count=20, semantic_classes={'person': 'pedestrian'})
    source = open_source(config, LABELS, Path())
    for i in range(20):
        sample = source[i]
        assert sample.masks is not None
        for box, mask in zip(sample.boxes, sample.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert (source[3].image == open_source(config, LABELS, Path())[3].image).all()


@pytest.mark.parametrize(('name', 'date'), [
    pytest.param('frontFar__BLR-2018-03-22_17-39-26_2_frontFar__001158_r', '2018-03-22',
                 id='camera-and-ride'),
    pytest.param('highquality_16k__BLR-2018-06-19-06-21-44_part_18__1', '2018-06-19',
                 id='dashes-only'),
    pytest.param('highquality_16k__2018-05-31_11-21-58__2018-05-31_11-28-33-015902_leftImg8bit',
                 '2018-05-31', id='start-and-frame-of-one-day'),
])
def test_a_drive_is_a_recording_date(name: str, date: str) -> None:
    assert recording_date(name) == date


@pytest.mark.parametrize('name', ['image_0001', '2018-05-31_a_2018-06-01'])
def test_a_name_without_one_date_is_refused(name: str) -> None:
    """Guessing a drive could put one ride on both sides."""
    with pytest.raises(DataError, match='one recording date'):
        recording_date(name)


def test_no_held_out_drive_is_trained_on(shared: Path) -> None:
    """Frames of one drive look alike: on both sides they would make the numbers too good."""
    train, val = (
        open_source(IddConfig(reader='idd', drives=DRIVES, held_out=held_out, classes=MOTORBIKE),
                    LABELS, shared).names for held_out in (False, True))
    assert len(train) + len(val) == 250
    assert 0.2 < len(val) / 250 < 0.25
    assert not {recording_date(n) for n in train} & {recording_date(n) for n in val}


def test_the_shipped_sets_open_and_decode(shared: Path) -> None:
    sources = [open_source(s.model_copy(update={
        'cache': False, **({'drives': DRIVES} if s.reader == 'idd' else {}),
        **({'every': 100} if s.reader == 'video' else {})}), LABELS, shared)
        for s in (*ROADSCENE.data.train, *ROADSCENE.data.val)]
    assert [len(s) for s in sources] == [367, 194, 3, 101, 56]
    for source in sources:
        sample = source[len(source) - 1]
        assert sample.image.ndim == 3
        assert ((sample.boxes >= -1) & (sample.boxes <= 1281)).all()


def test_a_missing_folder_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'set data\.root'):
        open_source(VideoConfig(reader='video'), LABELS, tmp_path)
