"""The check names all that is wrong with images and labels, each with file and line."""

from pathlib import Path
import re
import shutil
from typing import Any

import cv2
import numpy as np
import pytest
from rich.console import Console
from trees import (
    box2d,
    kitti,
    picture,
    write,
    write_bdd,
    write_camvid,
    write_cityscapes,
    write_coco,
    write_kitti,
    write_yolo,
)
from typer.testing import CliRunner
import yaml

from perception_training.cli import app
from perception_training.config import Config
from perception_training.data.check import brief, check, Findings
from perception_training.data.check_report import report
from perception_training.data.readers import read_source
from perception_training.data.twins import bits
from perception_training.errors import DataError

GOOD = '0 0.5 0.5 0.4 0.4\n1 0.4 0.4 0.2 0.2\n'
YOLO = {'reader': 'yolo', 'folder': 'set'}


def raw(root: Path, train: list[Any], val: list[Any], **labels: Any) -> dict[str, Any]:
    return {'run_dir': root / 'run', 'labels': labels or {'boxes': ('car', 'person')},
            'model': {'name': 'yolo'}, 'data': {'root': root, 'train': train, 'val': val},
            'fit': {'steps': 1}}


def checked(root: Path, *train: dict[str, Any], val: tuple[dict[str, Any], ...] = (),
            **labels: Any) -> Findings:
    return check(Config.model_validate(raw(root, list(train), list(val), **labels)))


def said(found: Findings) -> list[str]:
    return [f'{"error" if p.error else "note"} {p.kind}: {p.text}' for p in found.problems]


def lines(root: Path, **texts: str) -> Path:
    return write_yolo(root, texts, names=('car', 'person'))


def test_all_that_is_wrong_is_named_with_file_and_line(tmp_path: Path) -> None:
    """One pass must show everything: a user mends a set once, not line by line."""
    root = lines(
        tmp_path, a=GOOD, b=f'{GOOD}0 0.5 0.5\n9 0.5 0.5 0.1 0.1\n', c='0 0.9 0.5 0.4 0.4\n',
        d='1 0.5 0.5 0 0.2\n0 0.5 0.5 0.005 0.2\n', e=GOOD, f=GOOD)
    (root / 'set/images/e.png').write_bytes(b'no picture')
    (root / 'set/labels/f.txt').unlink()
    write(root / 'set/labels/lost.txt', GOOD)
    found = checked(root, YOLO)
    texts = [text.replace(f'{root}/set/', '') for text in said(found)]
    assert texts == [
        'error label: labels/b.txt:3: expected "class cx cy w h" with a class of 0..1 and shares '
        "of the image, got '0 0.5 0.5'",
        'error label: labels/b.txt:4: expected "class cx cy w h" with a class of 0..1 and shares '
        "of the image, got '9 0.5 0.5 0.1 0.1'",
        'error box: labels/c.txt:1: box (70, 15, 110, 35) reaches beyond the image of 100x50 px',
        'error box: labels/d.txt:1: box (50, 20, 50, 30) is empty or inside out',
        'note box: labels/d.txt:2: box (49.75, 20, 50.25, 30) is thinner than a pixel',
        'error image: images/e.png: expected a JPEG or PNG image, got 10 bytes that cannot be '
        'decoded',
        "error label: labels/f.txt: expected a readable text file; [Errno 2] No such file or "
        "directory: 'labels/f.txt'",
        'error label: labels/lost.txt: a label without an image',
    ]
    tally, = found.tallies
    assert tally.images == 6
    assert tally.boxes.tolist() == [4, 3]


def test_other_formats_name_their_entries(tmp_path: Path) -> None:
    write_kitti(tmp_path, {'000000': f'{kitti("Car", 1, 2, 3, 9)}\n{kitti("Kar", 1, 2, 3, 9)}\n'
                                     f'{kitti("Pedestrian", 90, 2, 130, 9)}\n'})
    write_bdd(tmp_path, ['x'])
    write(tmp_path / 'bdd100k/labels/det_20/det_train.json', [{'name': 'x.jpg', 'labels': [
        box2d('car', 5, 5, 2, 9), box2d('cow', 1, 1, 2, 2)]}])
    write_coco(tmp_path, [{'image_id': 7, 'category_id': 20, 'bbox': [0, 0, 10, 90]},
                          {'image_id': 7, 'category_id': 99, 'bbox': [0, 0, 10, 9]}])
    (tmp_path / 'coco/val2017/b.png').unlink()
    names = {'Car': 'car', 'Pedestrian': 'person', '*': 'ignore'}
    found = checked(
        tmp_path, {'reader': 'kitti', 'classes': names},
        {'reader': 'bdd100k', 'split': 'train', 'classes': {'*': 'ignore'}},
        {'reader': 'coco', 'annotations': 'coco/annotations/instances_val2017.json',
         'folder': 'coco/val2017', 'classes': {'*': 'ignore'}})
    texts = said(found)
    for kind, where in (('label', r'000000\.txt:2'), ('box', r'000000\.txt:3'),
                        ('box', r'det_train\.json:1: \[0\]\.labels\[0\]'),
                        ('label', r'det_train\.json:1: \[0\]\.labels\[1\]'),
                        ('box', r'instances_val2017\.json:1: annotations\[0\]'),
                        ('label', r'instances_val2017\.json:1: annotations\[1\]'),
                        ('image', r'val2017/b\.png')):
        assert [t for t in texts if re.match(f'error {kind}: .*{where}: ', t)], (where, texts)
    assert [t.boxes.tolist() for t in found.tallies] == [[1, 1], [1, 0], [1, 0]]


def test_an_unknown_id_and_a_label_map_of_another_size_are_named(tmp_path: Path) -> None:
    write_camvid(tmp_path, {'a': np.full((8, 9), 77, np.uint8), 'b': np.zeros((8, 9), np.uint8)})
    write(tmp_path / 'camvid/train/labels/b.png', np.zeros((4, 4), np.uint8))
    ids = np.full((50, 100), 7, np.uint8)
    write_cityscapes(tmp_path, 'aachen_0', np.full_like(ids, 50), ids.astype(np.uint16))
    scene = {'scene': ('road', 'sky')}
    found = checked(
        tmp_path, {'reader': 'camvid', 'split': 'train', 'semantic_classes': {'*': 'ignore'}},
        {'reader': 'cityscapes', 'split': 'train', 'semantic_classes': {'*': 'ignore'}},
        semantic=scene)
    texts = [t for t in said(found) if t.startswith('error label')]
    assert len(texts) == 3
    assert re.search(r'a\.png: expected class ids .* got \[77\]', texts[0])
    assert re.search(r'b\.png: expected 9x8 px like its image, got 4x4', texts[1])
    assert re.search(r'labelIds\.png: expected class ids from 0 to 33.* got \[50\]', texts[2])


def test_a_set_that_cannot_be_opened_does_not_hide_the_others(tmp_path: Path) -> None:
    """Its class list does not fit: that is said beside what is wrong elsewhere."""
    root = lines(tmp_path, a='0 0.5 0.5 0 0.2\n1 0.5 0.5 0.2 0.2')
    write_yolo(root, {'x': GOOD}, names=('lorry',), folder='other', first=9)
    texts = said(checked(root, {**YOLO, 'folder': 'other'}, YOLO))
    assert texts[0].startswith("error set: other: class 'lorry' leads to none of ours")
    assert 'a.txt:1: box' in texts[1]


def test_classes_without_an_object_or_a_pixel_are_named(tmp_path: Path) -> None:
    root = lines(tmp_path, a='0 0.5 0.5 0.4 0.4\n')
    write_camvid(root, {'c': np.full((8, 9), 3, np.uint8)})
    camvid = {'reader': 'camvid', 'split': 'train', 'semantic_classes': {'*': 'ignore'}}
    found = checked(root, YOLO, camvid, val=({**YOLO, 'class_names': ('car', 'person')},),
                    boxes=('car', 'person'), semantic={'scene': ('road', 'sky')})
    texts = [text for text in said(found) if ' class: ' in text]
    assert texts == [
        "error class: labels.boxes: train has no box of 'person'",
        "error class: labels.semantic.scene: train has no pixel of 'sky'",
        "note class: labels.boxes: val has no box of 'person'",
        "note class: labels.semantic.scene: val has no pixel of 'road'",
        "note class: labels.semantic.scene: val has no pixel of 'sky'"]


def test_an_image_in_training_and_validation_is_an_error(tmp_path: Path) -> None:
    root = lines(tmp_path, a=GOOD, b=GOOD)
    held = write(root / 'val.txt', 'b\n')
    found = checked(root, YOLO, val=({**YOLO, 'frames': held, 'held_out': True},))
    assert said(found) == [
        f'error split: {root}/set/images/b.png: this image is in both train and val']
    apart = checked(root, {**YOLO, 'frames': held, 'held_out': False},
                    val=({**YOLO, 'frames': held, 'held_out': True},))
    assert said(apart) == []


def test_a_recording_on_both_sides_is_told(tmp_path: Path) -> None:
    names = [f'{drive}_{i:03}' for drive in ('north', 'south', 'west') for i in range(3)]
    root = lines(tmp_path, **dict.fromkeys(names, GOOD))
    held = write(root / 'val.txt', 'north_002\nwest_000\nwest_001\nwest_002\n')
    found = checked(root, {**YOLO, 'frames': held, 'held_out': False},
                    val=({**YOLO, 'frames': held, 'held_out': True},))
    assert said(found) == [
        "note split: yolo: 2 images of train and 1 of val are of one recording, 'north'"]


@pytest.mark.slow
def test_real_splits_are_by_recording_or_said_not_to_be(shared: Path) -> None:
    """CamVid's own split cuts a drive in two, IDD's by recording date does not."""
    drives = Path(__file__).resolve().parents[2] / 'splits/idd_val_drives.txt'
    idd = {'reader': 'idd', 'drives': str(drives), 'classes': {'*': 'ignore'}}
    camvid = {'reader': 'camvid', 'split': 'train', 'semantic_classes': {'*': 'ignore'}}
    found = checked(
        shared, camvid, {**idd, 'held_out': False},
        val=({**camvid, 'split': 'val'}, {**idd, 'held_out': True}),
        boxes=('car', 'person'), semantic={'scene': ('road', 'sky')})
    assert said(found) == [
        "note split: camvid: 204 images of train and 101 of val are of one recording, '0016E5'"]


def test_copies_are_found_under_any_name_and_format(tmp_path: Path) -> None:
    root = lines(tmp_path, a=GOOD, b=GOOD)
    write_yolo(root, {'x': GOOD, 'y': GOOD}, names=('car', 'person'), folder='val', first=9)
    shutil.copy(root / 'set/images/a.png', root / 'val/images/x.png')
    write(root / 'val/images/y.bmp', picture(1))  # b, saved anew without loss
    (root / 'val/images/y.png').unlink()
    found = checked(root, YOLO, val=({**YOLO, 'folder': 'val'},))
    assert said(found) == [
        f'error duplicate: {root}/val/images/x.png (val): the same pixels as '
        f'{root}/set/images/a.png (train)',
        f'error duplicate: {root}/val/images/y.bmp (val): the same pixels as '
        f'{root}/set/images/b.png (train)']


def test_a_copy_within_training_is_worth_knowing_but_no_error(tmp_path: Path) -> None:
    root = lines(tmp_path, a=GOOD, b=GOOD)
    shutil.copy(root / 'set/images/a.png', root / 'set/images/b.png')
    found = checked(root, YOLO)
    assert [text.partition(':')[0] for text in said(found)] == ['note duplicate']


@pytest.mark.parametrize('change', ['quality', 'size', 'light'])
def test_what_looks_alike_across_splits_is_told(tmp_path: Path, change: str) -> None:
    root = lines(tmp_path, a=GOOD, b=GOOD)
    write_yolo(root, {'x': GOOD}, names=('car', 'person'), folder='val', first=9)
    image = cv2.imread(str(root / 'set/images/a.png'))
    assert image is not None
    if change == 'quality':
        image = cv2.imdecode(cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1)
    elif change == 'size':
        image = cv2.resize(image, (80, 40), interpolation=cv2.INTER_AREA)
    else:
        image = cv2.convertScaleAbs(image, alpha=0.8, beta=20)
    write(root / 'val/images/x.png', image)
    text, = said(checked(root, YOLO, val=({**YOLO, 'folder': 'val'},)))
    assert text.startswith(f'note look-alike: {root}/val/images/x.png (val): looks like '
                           f'{root}/set/images/a.png (train)')


def test_streets_that_differ_do_not_look_alike(shared: Path) -> None:
    """All show sky over road; only neighbours of one ride may count as the same."""
    paths = sorted((shared / 'idd/images').glob('*'))[::16]
    seen = [bits(cv2.imread(str(path))) for path in paths]
    differ = [int(np.bitwise_count(a ^ b).sum()) for i, a in enumerate(seen) for b in seen[:i]]
    assert len(paths) > 10
    assert min(differ) > 60


def test_the_command_prints_tables_and_fails_where_something_is_wrong(tmp_path: Path) -> None:
    root = lines(tmp_path, a=GOOD, b='0 0.9 0.5 0.4 0.4\n')
    path = write(root / 'run.yaml', yaml.safe_dump(
        Config.model_validate(raw(root, [YOLO], [])).model_dump(mode='json')))
    done = CliRunner().invoke(app, ['check', '--config', str(path)])
    assert done.exit_code == 1
    assert '1 errors, 0 notes' in done.stdout
    write(root / 'set/labels/b.txt', GOOD)
    done = CliRunner().invoke(app, ['check', '--config', str(path)])
    assert done.exit_code == 0, done.stdout
    assert re.search(r'car\s+│\s+2', done.stdout)


def test_a_file_name_is_printed_whole(tmp_path: Path) -> None:
    """A narrow terminal must not break what a user copies, nor take brackets for styles."""
    root = lines(tmp_path / ('long' * 30) / '[bold]', a='0 0.9 0.5 0.4 0.4\n')
    console = Console(width=60, record=True)
    found = checked(root, YOLO)
    report(found, Config.model_validate(raw(root, [YOLO], [])), console)
    assert f'{root}/set/labels/a.txt:1: box' in console.export_text()


def test_training_looks_for_missing_files_and_shared_images_before_it_begins(
    tmp_path: Path
) -> None:
    root = lines(tmp_path, a=GOOD, b=GOOD)
    config = Config.model_validate(raw(root, [YOLO], []))
    source = read_source(config.data.train[0], config.labels, root)
    assert brief([source], []) == []
    assert re.match(r'.*a\.png and 1 other images are in both', brief([source], [source])[0])
    (root / 'set/labels/b.txt').unlink()
    with pytest.raises(DataError, match=r'b\.txt: there is no such file, and 0 others'):
        brief([source], [])
