"""Sets in their publishers' layouts give the boxes, outlines and label maps that are in them."""

from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydantic import TypeAdapter
import pytest
from trees import (
    box2d,
    kitti,
    write,
    write_bdd,
    write_cityscapes,
    write_coco,
    write_kitti,
    write_yolo,
)

from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import SourceConfig
from perception_training.data.check import brief
from perception_training.data.readers import open_source, Source
from perception_training.data.readers.images import ImageFiles
from perception_training.data.sample import Sample, UNKNOWN, UNKNOWN_BOX
from perception_training.errors import DataError

BOXES = LabelsConfig(boxes=('car', 'person'))
KITTI = {'Car': 'car', 'Van': 'car', 'Pedestrian': 'person', '*': 'ignore'}
CROSSING = 'single white'


def opened(root: Path, labels: LabelsConfig = BOXES, **settings: Any) -> Source:
    config = TypeAdapter(SourceConfig).validate_python(settings)
    return open_source(config, labels, root)


def seen(sample: Sample) -> list[tuple[int, list[float]]]:
    return [(int(label), box.tolist())
            for label, box in zip(sample.labels, sample.boxes, strict=True)]


class TestCityscapes:

    SCENE = LabelsConfig(boxes=('car', 'person'), semantic={'scene': ('road', 'car', 'sky')})
    SETTINGS = MappingProxyType({
        'reader': 'cityscapes', 'split': 'train',
        'classes': {'*': 'ignore'}, 'semantic_classes': {'*': 'ignore'}})

    @staticmethod
    def tree(root: Path) -> Path:
        ids = np.full((50, 100), 7, np.uint8)  # road
        ids[:10], ids[40:] = 23, 1  # sky, ego vehicle
        instances = ids.astype(np.uint16)
        for x, instance in ((10, 26000), (30, 26001), (50, 26), (80, 26)):
            ids[20:30, x:x + 9], instances[20:30, x:x + 9] = 26, instance
        return write_cityscapes(root, 'aachen_000000_000019', ids, instances)

    def test_instances_are_boxes_and_a_group_is_unknown(self, tmp_path: Path) -> None:
        sample = opened(self.tree(tmp_path), self.SCENE, **self.SETTINGS)[0]
        assert seen(sample) == [
            (UNKNOWN_BOX, [50, 20, 59, 30]), (UNKNOWN_BOX, [80, 20, 89, 30]),
            (0, [10, 20, 19, 30]), (0, [30, 20, 39, 30])]
        assert sample.masks is not None and sample.masks.sum((1, 2)).tolist() == [90] * 4

    def test_label_ids_become_classes_and_the_rest_is_unknown(self, tmp_path: Path) -> None:
        scene = opened(self.tree(tmp_path), self.SCENE, **self.SETTINGS)[0].semantic['scene']
        assert [scene[row, 0] for row in (0, 20, 45)] == [2, 0, UNKNOWN]
        assert scene[25, 12] == 1

    def test_its_name_is_that_of_city_and_frame(self, tmp_path: Path) -> None:
        source = opened(self.tree(tmp_path), self.SCENE, **self.SETTINGS)
        assert source.names == ('aachen/aachen_000000_000019',)

    def test_an_id_that_there_is_not_is_named(self, tmp_path: Path) -> None:
        self.tree(tmp_path)
        path = next(tmp_path.rglob('*labelIds.png'))
        write(path, np.full((50, 100), 40, np.uint8))
        with pytest.raises(DataError, match=r'labelIds.png: expected class ids .* got \[40\]'):
            opened(tmp_path, self.SCENE, **self.SETTINGS)[0]


class TestKitti:

    def test_the_sample_gives_its_boxes_and_regions_of_dont_care(self, shared: Path) -> None:
        source = opened(shared, reader='kitti', folder='kitti_sample', classes=KITTI)
        assert source.names == ('000000', '000001', '000002')
        assert seen(source[0]) == [
            (1, [np.float32(v) for v in (712.40, 143.00, 810.73, 307.92)])]
        # Truck, car, cyclist, and four regions of DontCare.
        assert source[1].labels.tolist() == [-1, 0, -1, -1, -1, -1, -1]

    def test_a_committed_list_of_images_splits_it(self, tmp_path: Path) -> None:
        root = write_kitti(tmp_path, {f'00000{i}': '' for i in range(4)})
        frames = write(tmp_path / 'val.txt', '000001\n000003\n')
        settings = {'reader': 'kitti', 'classes': KITTI, 'frames': frames}
        assert opened(root, **settings, held_out=True).names == ('000001', '000003')
        assert opened(root, **settings, held_out=False).names == ('000000', '000002')

    def test_the_development_kit_tells_drives(self, tmp_path: Path) -> None:
        """Line rand[i] of the mapping, counted from 1, is that of image i."""
        root = write_kitti(tmp_path, {f'00000{i}': '' for i in range(3)})
        write(root / 'devkit/train_mapping.txt', ''.join(
            f'2011_09_26 2011_09_26_drive_000{d}_sync 000000{d}\n' for d in (1, 2, 2)))
        write(root / 'devkit/train_rand.txt', '3,1,2')
        drives = write(root / 'drives.txt', '2011_09_26_drive_0002_sync\n')
        assert opened(root, reader='kitti', classes=KITTI, mapping='devkit', drives=drives,
                      held_out=True).names == ('000000', '000002')
        with pytest.raises(DataError, match='expected mapping'):
            opened(root, reader='kitti', classes=KITTI, drives=drives, held_out=True)

    @pytest.mark.parametrize(('line', 'said'), [
        pytest.param('Car 0 0 0 1 2 3', 'expected "type truncated', id='too-few'),
        pytest.param(kitti('Car', 1, 2, float('nan'), 9), 'expected "type', id='no-number'),
        pytest.param(kitti('Kar', 1, 2, 3, 9), "expected a class of .* got 'Kar'", id='class'),
        pytest.param(kitti('Car', 5, 2, 3, 9), 'expected a box with left < right', id='box'),
    ])
    def test_a_wrong_line_is_named(self, tmp_path: Path, line: str, said: str) -> None:
        text = f'{kitti("Car", 1, 2, 30, 40)}\n\n{line}\n'
        source = opened(write_kitti(tmp_path, {'000000': text}), reader='kitti', classes=KITTI)
        with pytest.raises(DataError, match=rf'000000.txt:3: {said}'):
            source[0]


class TestBdd100k:

    LABELS = LabelsConfig(boxes=('car', 'person'), semantic={
        'drivable': ('background', 'drivable'), 'lane': ('background', 'mark')})
    SETTINGS = MappingProxyType({
        'reader': 'bdd100k', 'split': 'train',
        'classes': {'pedestrian': 'person', 'rider': 'person', '*': 'ignore'},
        'semantic_classes': {
            'direct': 'drivable', 'alternative': 'drivable', 'crosswalk': 'background',
            'road curb': 'background', **{f'{n} {c}': 'mark' for n in ('single', 'double')
                                          for c in ('white', 'yellow', 'other')}}})
    THINGS = (box2d('car', 10, 10, 30.5, 30), box2d('other vehicle', 1, 2, 9, 9),
              box2d('rider', 40, 10, 60, 30), box2d('car', 0, 0, 99, 9, crowd=True))
    EXPECTED = ((0, [10, 10, 30.5, 30]), (-1, [1, 2, 9, 9]), (1, [40, 10, 60, 30]),
                (-1, [0, 0, 99, 9]))

    def test_boxes_of_2020(self, tmp_path: Path) -> None:
        root = write_bdd(tmp_path, ['a', 'b', 'unlabelled'])
        write(root / 'bdd100k/labels/det_20/det_train.json', [
            {'name': 'b.jpg', 'labels': list(self.THINGS)}, {'name': 'a.jpg'}])
        source = opened(root, self.LABELS, **self.SETTINGS)
        assert source.names == ('a', 'b')
        assert seen(source[0]) == []
        assert seen(source[1]) == list(self.EXPECTED)

    @pytest.mark.parametrize('single', [False, True], ids=['one-file', 'a-file-for-each-image'])
    def test_boxes_of_2018(self, tmp_path: Path, single: bool) -> None:
        """Other names of classes; lanes and areas stand among the boxes, as polygons."""
        root = write_bdd(tmp_path, ['b'])
        things = [box2d('person', 40, 10, 60, 30), box2d('motor', 1, 2, 9, 9),
                  {'category': 'drivable area', 'id': 3, 'poly2d': [{'vertices': [[0, 0]]}]}]
        if single:
            write(root / 'bdd100k/labels/100k/train/b.json',
                  {'name': 'b', 'frames': [{'timestamp': 10000, 'objects': things}]})
        else:
            write(root / 'bdd100k/labels/bdd100k_labels_images_train.json',
                  [{'name': 'b.jpg', 'attributes': {}, 'labels': things}])
        source = opened(root, self.LABELS, **self.SETTINGS)
        assert seen(source[0]) == [(1, [40, 10, 60, 30]), (-1, [1, 2, 9, 9])]

    def test_drivable_area_and_lane_marks_are_label_maps(self, tmp_path: Path) -> None:
        labels = LabelsConfig(semantic=self.LABELS.semantic)
        sample = opened(write_bdd(tmp_path, ['a']), labels, **self.SETTINGS)[0]
        drivable, lane = sample.semantic['drivable'], sample.semantic['lane']
        assert (drivable[:25] == 0).all() and (drivable[25:] == 1).all()
        assert (lane[:, 9] == 1).all() and lane.sum() == 50
        assert not sample.labelled.any()

    def test_a_wrong_entry_is_named(self, tmp_path: Path) -> None:
        root = write_bdd(tmp_path, ['a'])
        path = root / 'bdd100k/labels/det_20/det_train.json'
        for entry, said in (({'category': 'car', 'box2d': {'x1': 1}}, 'expected category and box'),
                            (box2d('cow', 1, 1, 2, 2), "expected one of pedestrian, .*'cow'")):
            write(path, [{'name': 'a.jpg', 'labels': [self.THINGS[0], entry]}])
            with pytest.raises(DataError, match=rf'det_train.json:1: \[0\].labels\[1\]: {said}'):
                opened(root, self.LABELS, **self.SETTINGS)[0]

    def test_a_class_that_no_map_has_is_refused(self, tmp_path: Path) -> None:
        wrong = {**self.SETTINGS, 'semantic_classes': {'kerb': 'mark'}}
        labels = LabelsConfig(semantic=self.LABELS.semantic)
        with pytest.raises(DataError, match=r"got \['kerb'\]"):
            opened(write_bdd(tmp_path, ['a']), labels, **wrong)


class TestCoco:

    SETTINGS = MappingProxyType({
        'reader': 'coco', 'annotations': 'coco/annotations/instances_val2017.json',
        'folder': 'coco/val2017', 'outlines': True, 'classes': {'*': 'background'}})
    SQUARE = ([10, 10, 20, 10, 20, 30, 10, 30],)

    def test_polygons_and_both_kinds_of_run_lengths_are_outlines(self, tmp_path: Path) -> None:
        lengths = {'size': [50, 100], 'counts': [510, 20, 4470]}
        packed = {'size': [50, 100], 'counts': 'n?d0f[4'}  # the same, in COCO's compressed text
        root = write_coco(tmp_path, [
            {'image_id': 7, 'category_id': 20, 'bbox': [10, 10, 10, 20], 'segmentation': item}
            for item in (self.SQUARE, lengths, packed)])
        sample = opened(root, **self.SETTINGS)[0]
        assert sample.masks is not None
        assert sample.masks.sum((1, 2)).tolist() == [200, 20, 20]
        assert sample.masks[0, 10:30, 10:20].all()
        assert sample.masks[1, 10:30, 10].all()  # runs go down the columns
        assert (sample.masks[1] == sample.masks[2]).all()

    def test_a_crowd_is_unknown_and_what_is_not_learnt_is_background(self, tmp_path: Path) -> None:
        runs = {'size': [50, 100], 'counts': [0, 50, 4950]}
        root = write_coco(tmp_path, [
            {'image_id': 9, 'category_id': 10, 'bbox': [0, 0, 1, 50], 'iscrowd': 1,
             'segmentation': runs},
            {'image_id': 9, 'category_id': 30, 'bbox': [1, 1, 5, 5], 'segmentation': self.SQUARE}])
        source = opened(root, **self.SETTINGS)
        assert seen(source[0]) == []
        assert seen(source[1]) == [(UNKNOWN_BOX, [0, 0, 1, 50])]

    @pytest.mark.parametrize(('entry', 'said'), [
        pytest.param({'segmentation': [[1, 2, 3]]}, 'fewer than three points', id='polygon'),
        pytest.param({'segmentation': [[1, 2, 3, 4, 5, float('nan')]]}, 'a part of one', id='nan'),
        pytest.param({'segmentation': {'size': [9, 9], 'counts': [81]}}, r'of \[50, 100\]',
                     id='other-size'),
        pytest.param({'segmentation': {'size': [50, 100], 'counts': [7]}}, 'expected segmentation',
                     id='too-short'),
        pytest.param({'segmentation': {'size': [50, 100], 'counts': 'z'}}, 'expected segmentation',
                     id='damaged'),
        pytest.param({'category_id': 5}, 'category_id 5 is not in categories', id='class'),
        pytest.param({'bbox': [1, 2, 3]}, 'expected bbox', id='box'),
    ])
    def test_a_wrong_entry_is_named(
        self, tmp_path: Path, entry: dict[str, Any], said: str
    ) -> None:
        good = {'image_id': 7, 'category_id': 20, 'bbox': [10, 10, 10, 20],
                'segmentation': self.SQUARE}
        source = opened(write_coco(tmp_path, [good, good | entry]), **self.SETTINGS)
        with pytest.raises(DataError, match=rf'annotations\[1\]: .*{said}'):
            source[0]

    def test_an_annotation_of_no_image_is_named(self, tmp_path: Path) -> None:
        root = write_coco(tmp_path, [{'image_id': 1, 'category_id': 20, 'bbox': [0, 0, 1, 1]}])
        with pytest.raises(DataError, match=r'annotations\[0\]: expected an image_id'):
            opened(root, **self.SETTINGS)


class TestYoloText:

    LINE = '1 0.5 0.5 0.2 0.4\n'

    def test_names_come_from_the_folder(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path, {'a': self.LINE}, names=('person', 'car'))
        sample = opened(root, reader='yolo', folder='set')[0]
        assert sample.labels.tolist() == [0]
        np.testing.assert_allclose(sample.boxes, [[40, 15, 60, 35]])

    def test_or_from_data_yaml_or_from_the_settings(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path, {'a': self.LINE})
        with pytest.raises(DataError, match='nothing says what the class ids mean'):
            opened(root, reader='yolo', folder='set')
        names = ('person', 'car')
        assert opened(root, reader='yolo', folder='set', class_names=names)[0].labels == [0]
        write(root / 'set/data.yaml', 'names: {0: car, 1: person}')
        assert opened(root, reader='yolo', folder='set')[0].labels == [1]
        with pytest.raises(DataError, match='expected the class_names of the settings'):
            opened(root, reader='yolo', folder='set', class_names=names)

    def test_an_image_without_text_is_empty_only_where_the_settings_say_so(
        self, tmp_path: Path
    ) -> None:
        root = write_yolo(tmp_path, {'a': self.LINE, 'b': ''}, names=('person', 'car'))
        (root / 'set/labels/b.txt').unlink()
        with pytest.raises(DataError, match=r'b.txt: expected a readable text'):
            opened(root, reader='yolo', folder='set')[1]
        source = opened(root, reader='yolo', folder='set', empty=True)
        assert len(source[1].boxes) == 0
        assert brief([source], []) == []

    def test_whole_drives_are_held_out(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path, {f'{d}_{i:03}': '' for d in ('north', 'south')
                                     for i in range(2)}, names=('person', 'car'))
        drives = write(tmp_path / 'drives.txt', 'south\n')
        held, rest = (opened(root, reader='yolo', folder='set', drives=drives, held_out=out)
                      for out in (True, False))
        assert held.names == ('south_000', 'south_001')
        assert rest.names == ('north_000', 'north_001')
        write(drives, 'south\nwest\n')
        with pytest.raises(DataError, match=r"drives.txt:2: no image is of 'west'"):
            opened(root, reader='yolo', folder='set', drives=drives, held_out=True)


@pytest.mark.parametrize('settings', [
    pytest.param({'drives': 'a.txt'}, id='no-side'),
    pytest.param({'held_out': True}, id='no-list'),
    pytest.param({'drives': 'a.txt', 'frames': 'b.txt', 'held_out': True}, id='two-lists'),
])
def test_a_list_and_the_side_of_it_are_given_together(settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='held_out|held out'):
        TypeAdapter(SourceConfig).validate_python(
            {'reader': 'yolo', 'folder': 'set', **settings})


def test_large_images_are_scaled_down_with_their_labels(tmp_path: Path) -> None:
    root = TestCityscapes.tree(tmp_path)
    source = opened(root, TestCityscapes.SCENE, **TestCityscapes.SETTINGS, max_side=64)
    assert isinstance(source, ImageFiles)
    sample = source[0]
    assert sample.image.shape == (32, 64, 3)
    assert sample.semantic['scene'].shape == (32, 64)
    np.testing.assert_allclose(sample.boxes[2], np.array([10, 20, 19, 30]) * 0.64, atol=0.01)


def test_real_boxes_are_the_same_in_every_format(shared: Path, tmp_path: Path) -> None:
    """Images of IDD, whose labels are written anew as other publishers would have written them."""
    names = ('car', 'bus', 'truck', 'person', 'motorbike', 'bicycle')
    labels = LabelsConfig(boxes=names)
    idd = opened(shared, labels, reader='yolo', folder='idd', class_names=names)
    chosen = [i for i in range(0, len(idd), 50) if len(idd[i].boxes)]
    entries, frames, texts = [], [], {}
    for number, index in enumerate(chosen):
        sample, file = idd[index], f'{number:06}'
        source = shared / 'idd/images' / f'{sample.name}.jpg'
        for place in (f'coco/val2017/{file}.jpg', f'kitti/training/image_2/{file}.jpg',
                      f'bdd100k/images/100k/val/{file}.jpg'):
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).symlink_to(source)
        things = [(names[int(label)], box.tolist())
                  for label, box in zip(sample.labels, sample.boxes, strict=True)]
        entries += [{'image_id': number, 'category_id': names.index(name),
                     'bbox': [x1, y1, x2 - x1, y2 - y1]} for name, (x1, y1, x2, y2) in things]
        frames.append({'name': f'{file}.jpg', 'labels': [
            box2d({'person': 'pedestrian', 'motorbike': 'motorcycle'}.get(name, name), *box)
            for name, box in things]})
        texts[file] = '\n'.join(
            kitti({'car': 'Car', 'bus': 'Van', 'truck': 'Truck', 'person': 'Pedestrian',
                   'motorbike': 'Misc', 'bicycle': 'Cyclist'}[name], *box) for name, box in things)
    write(tmp_path / 'coco/all.json', {
        'images': [{'id': i, 'file_name': f'{i:06}.jpg'} for i in range(len(chosen))],
        'categories': [{'id': i, 'name': name} for i, name in enumerate(names)],
        'annotations': entries})
    write(tmp_path / 'bdd100k/labels/det_20/det_val.json', frames)
    for file, text in texts.items():
        write(tmp_path / f'kitti/training/label_2/{file}.txt', text)
    for settings in (
        {'reader': 'coco', 'annotations': 'coco/all.json', 'folder': 'coco/val2017'},
        {'reader': 'bdd100k', 'split': 'val', 'classes': {
            'pedestrian': 'person', 'motorcycle': 'motorbike', '*': 'ignore'}},
        {'reader': 'kitti', 'classes': {
            'Car': 'car', 'Van': 'bus', 'Truck': 'truck', 'Pedestrian': 'person',
            'Misc': 'motorbike', 'Cyclist': 'bicycle', '*': 'ignore'}},
    ):
        source = opened(tmp_path, labels, **settings)
        assert len(source) == len(chosen) > 3
        for number, index in enumerate(chosen):
            ours, theirs = source[number], idd[index]
            assert ours.labels.tolist() == theirs.labels.tolist()
            np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-3)
            assert (ours.image == theirs.image).all()
