"""Labels in files, and accuracy by distance."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.bags.labelled import BOXES, LabelledBag
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import DatasetError, PerceptionError
from perception_ros.recording import Recorder, RecordOptions
from perception_ros.replay.labels import LabelSource
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.run import play
from perception_ros.replay.verdict import judge
from test.builders import COLOURS, picture
from test.replay.drawn import config, configuration, drawn_bag, SIZE


@pytest.fixture(scope='module')
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a labelled bag, and a finished run of it in which two frames are lost."""
    folder = tmp_path_factory.mktemp('labels')
    drawn_bag(folder / 'drawn.mcap', frames=6)
    configuration(folder)
    # What is found at the rear is not believed: a figure that is not 1.
    settings = config(folder, cameras={'rear': {'score_threshold': 0.95}})
    play(ReplayOptions(folder / 'drawn.mcap', folder / 'out', settings))
    return folder


@pytest.fixture(scope='module')
def files(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with the same labels as files of each kind."""
    folder = tmp_path_factory.mktemp('files')
    names = [*COLOURS]
    coco: dict[str, list[dict[str, object]]] = {
        'images': [], 'annotations': [],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(names, 1)],
    }
    (folder / 'classes.txt').write_text('\n'.join(names))
    with LabelledBag(run / 'drawn.mcap') as bag:
        for number, frame in enumerate(bag.frames, 1):
            [box], [name], _ = bag.boxes(frame)
            x1, y1, x2, y2 = box.tolist()
            coco['images'].append({
                'id': number, 'file_name': f'{frame.camera}/{frame.stamp_ns}.jpg',
            })
            coco['annotations'].append({
                'id': number, 'image_id': number, 'category_id': names.index(name or '') + 1,
                'bbox': [x1, y1, x2 - x1, y2 - y1],
            })
            for place in ('images', 'labels', 'maps/images', 'maps/labels'):
                (folder / place / frame.camera).mkdir(parents=True, exist_ok=True)
            for place in ('images', 'maps/images'):
                (folder / place / frame.camera / f'{frame.stamp_ns}.png').touch()
            width, height = SIZE
            line = (names.index(name or ''), (x1 + x2) / 2 / width, (y1 + y2) / 2 / height,
                    (x2 - x1) / width, (y2 - y1) / height)
            text = folder / 'labels' / frame.camera / f'{frame.stamp_ns}.txt'
            text.write_text(' '.join(map(str, line)))
            ids = bag.label_map(frame, 'semantic/ground')
            cv2.imwrite(str(folder / 'maps/labels' / frame.camera / f'{frame.stamp_ns}.png'), ids)
    (folder / 'maps/classes.txt').write_text('\n'.join([*names, 'other']))
    (folder / 'labels.json').write_text(json.dumps(coco))
    return folder


@pytest.mark.parametrize(
    'reference', ['coco:{}/labels.json', 'yolo:{}', 'camvid:{}/maps', 'ground=camvid:{}/maps'],
)
def test_files_say_what_the_bag_says(run: Path, files: Path, reference: str) -> None:
    """The same labels give the same figures, wherever they lie."""
    own = judge({run / 'drawn.mcap': run / 'out'})['colours'].as_json()
    source = LabelSource((reference.format(files),))
    figures = judge({run / 'drawn.mcap': run / 'out'}, source)['colours'].as_json()
    keys = ('mIoU',) if 'camvid' in reference else ('mAP50', 'mAP')
    assert figures['images'] == 12
    for key in keys:
        assert 0 < own[key] <= 1 and own['cameras'].keys() == {'front', 'rear'}
        assert figures[key] == pytest.approx(own[key], abs=1e-9)
        for camera, row in own['cameras'].items():
            assert figures['cameras'][camera][key] == pytest.approx(row[key], abs=1e-9)


def test_boxes_and_maps_together_and_another_bag(run: Path, files: Path) -> None:
    both = LabelSource((f'coco:{files}/labels.json', f'camvid:{files}/maps'))
    other = LabelSource((f'bag:{run}/drawn.mcap',))
    own = judge({run / 'drawn.mcap': run / 'out'})['colours'].as_json()
    assert judge({run / 'drawn.mcap': run / 'out'}, both)['colours'].as_json() == own
    assert judge({run / 'drawn.mcap': run / 'out'}, other)['colours'].as_json() == own


def test_a_class_may_have_another_name(run: Path, files: Path) -> None:
    source = LabelSource((f'yolo:{files}',), ('crimson', 'green', 'blue'), {'crimson': 'red'})
    (files / 'classes.txt').rename(files / 'names')
    try:
        figures = judge({run / 'drawn.mcap': run / 'out'}, source)['colours'].as_json()
    finally:
        (files / 'names').rename(files / 'classes.txt')
    assert figures['classes'].keys() == {'red', 'green', 'blue'}
    assert figures['not_measured'] == []


@pytest.mark.parametrize(
    ('reference', 'says'),
    [
        ('labels.json', 'expected [HEAD=]KIND:PATH'),
        ('kitti:{}', 'expected [HEAD=]KIND:PATH'),
        ('=camvid:{}/maps', 'expected [HEAD=]KIND:PATH'),
        ('coco:{}/none.json', 'there is no'),
        ('sky=camvid:{}/maps', 'the models have ground'),
        ('coco:{}/others.json', 'none is of a frame of this run; they are of front/7, the frames'),
        ('coco:{}/cameras.json', 'of the cameras front, rear; got none'),
        ('coco:{}/names.json', 'expected the name of a frame'),
        ('yolo:{}/maps/labels', 'of the cameras front, rear; got none'),
    ],
)
def test_labels_that_do_not_fit_are_told(
    run: Path, files: Path, reference: str, says: str
) -> None:
    for name, file in (('others', 'front/7'), ('cameras', 'left/7'), ('names', 'front/x')):
        (files / f'{name}.json').write_text(json.dumps({
            'images': [{'id': 1, 'file_name': f'{file}.jpg'}], 'annotations': [],
            'categories': [{'id': 1, 'name': 'red'}],
        }))
    with pytest.raises(PerceptionError) as error:
        judge({run / 'drawn.mcap': run / 'out'}, LabelSource((reference.format(files),)))
    assert says in str(error.value)


def test_one_thing_is_said_once(run: Path, files: Path) -> None:
    source = LabelSource((f'coco:{files}/labels.json', f'yolo:{files}'))
    with pytest.raises(DatasetError, match='expected one source of detections, got several'):
        judge({run / 'drawn.mcap': run / 'out'}, source)


def test_distances_tell_near_from_far(tmp_path: Path) -> None:
    """Four objects in each picture: near, far, at an unknown distance, and far but not seen."""
    boxes = np.array([[2, 2, 22, 22], [30, 2, 50, 22], [60, 2, 80, 22], [60, 30, 80, 50]], float)
    places_m = np.array([[0, 0, 5], [3, 0, 70], [0, 0, 0], [0, 4, 60]], float)
    with BagWriter(tmp_path / 'bag.mcap') as writer:
        recorder = Recorder(writer, RecordOptions(transport='raw'))
        for index in range(3):
            time_ns = recorder.time_ns(index, 10.0)
            seen = [tuple(int(v) for v in box) for box in boxes[:3]]
            # The fake network sees one rectangle of each colour.
            pixels = picture(*SIZE, **dict(zip(COLOURS, seen, strict=True)))
            recorder.pixels('front', time_ns, pixels)
            names = [*COLOURS, 'red']
            recorder.boxes('front', time_ns, boxes, names, [*COLOURS], places_m)
    with LabelledBag(tmp_path / 'bag.mcap') as bag:
        distances_m = bag.boxes(bag.frames[0]).distances_m
        assert bag.kinds == (BOXES,)
    assert distances_m[:2] == pytest.approx([5, 70.064], abs=1e-3)
    assert np.isnan(distances_m[2]) and distances_m[3] == pytest.approx(60.133, abs=1e-3)
    configuration(tmp_path)
    settings = config(tmp_path, camera_names=['front'])
    play(ReplayOptions(tmp_path / 'bag.mcap', tmp_path / 'out', settings))
    verdict = judge({tmp_path / 'bag.mcap': tmp_path / 'out'})['colours'].as_json()
    near, far = verdict['distances']['0-20_m'], verdict['distances']['40-80_m']
    assert verdict['distances'].keys() == {'0-20_m', '40-80_m'}
    assert (near['n'], near['recall']) == (3, 1.0)
    assert near['mAP50'] == pytest.approx(1), 'what is far or unknown is no false box here'
    assert (far['n'], far['recall']) == (6, 0.5)
    assert far['classes'].keys() == {'red', 'green'}
    assert far['classes']['green'] == {'n': 3, 'recall': 1.0, 'AP50': pytest.approx(1)}
