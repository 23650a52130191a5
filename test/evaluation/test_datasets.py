"""Labelled data as people store them, and what is wrong with some."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets import (
    BoxDataset,
    drive_of,
    MaskDataset,
    open_dataset,
)
from test.builders import picture
from test.evaluation.data import Row, write_masks, write_yolo

ROW: Row = (1, 0.5, 0.5, 0.25, 0.5)


def boxes(reference: str, labels: list[str] | None = None) -> BoxDataset:
    dataset = open_dataset(reference, labels)
    assert isinstance(dataset, BoxDataset)
    return dataset


class TestYolo:

    def test_boxes_are_corners_in_pixels(self, tmp_path: Path) -> None:
        data = boxes(f'yolo:{write_yolo(tmp_path / "d", {"a": [ROW]}, ["car", "bus"])}')
        truth = data.truth(data.images[0], (96, 64))
        assert truth.boxes.tolist() == [[36, 16, 60, 48]]
        assert (truth.labels.tolist(), data.classes) == ([1], ('car', 'bus'))

    def test_an_image_without_a_label_file_has_no_boxes(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW], 'b': []}, ['car', 'bus'])
        (root / 'labels' / 'b.txt').unlink()
        data = boxes(f'yolo:{root}')
        assert len(data.truth(data.images[1], (96, 64)).boxes) == 0

    @pytest.mark.parametrize('names', ['[car, bus]', '{0: car, 1: bus}'])
    def test_names_come_from_data_yaml(self, tmp_path: Path, names: str) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW]})
        (root / 'data.yaml').write_text(f'names: {names}')
        assert boxes(f'yolo:{root}').classes == ('car', 'bus')

    def test_names_may_be_given(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW]})
        assert boxes(f'yolo:{root}', ['car', 'bus']).classes == ('car', 'bus')

    def test_without_names_it_says_where_they_could_be(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW]})
        with pytest.raises(DatasetError, match=r'data\.yaml .* --labels'):
            open_dataset(f'yolo:{root}')

    @pytest.mark.parametrize('names', ['{1: car}', '3', '[', '{}'])
    def test_a_damaged_data_yaml_is_named(self, tmp_path: Path, names: str) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW]})
        (root / 'data.yaml').write_text(f'names: {names}')
        with pytest.raises(DatasetError, match=r'data\.yaml'):
            open_dataset(f'yolo:{root}')

    @pytest.mark.parametrize('line', [
        '2 0.5 0.5 0.1 0.1', '0.5 0.5 0.5 0.1 0.1', '0 0.5 0.5 0.1', 'car 0.5 0.5 0.1 0.1',
        '0 nan 0.5 0.1 0.1', '-1 0.5 0.5 0.1 0.1',
    ])
    def test_a_damaged_line_is_named_with_file_and_number(
        self, tmp_path: Path, line: str
    ) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW]}, ['car', 'bus'])
        (root / 'labels' / 'a.txt').write_text(f'0 0.5 0.5 0.1 0.1\n{line}\n')
        with pytest.raises(DatasetError, match=r'a\.txt:2: .*0\.\.1'):
            boxes(f'yolo:{root}').check()

    @pytest.mark.parametrize('inside', [True, False], ids=['val/images', 'images/val'])
    def test_a_split_is_a_folder(self, tmp_path: Path, inside: bool) -> None:
        root = write_yolo(tmp_path / 'd', {'a': [ROW]}, ['car', 'bus'], split='val')
        if not inside:
            for kind in ('images', 'labels'):
                (root / kind).mkdir()
                (root / 'val' / kind).rename(root / kind / 'val')
        data = boxes(f'yolo:{root}@val')
        assert len(data.truth(data.images[0], (96, 64)).boxes) == 1

    def test_a_missing_split_names_those_that_are_there(self, tmp_path: Path) -> None:
        write_yolo(tmp_path / 'd', {'a': [ROW]}, split='val')
        with pytest.raises(DatasetError, match='splits val'):
            open_dataset(f'yolo:{tmp_path / "d"}', ['car', 'bus'])


class TestDrives:

    @pytest.mark.parametrize(('name', 'drive'), [
        ('front__BLR-2018-03-22_17-39-26_2__001158_r', '2018-03-22'),
        ('0016E5_07959', '0016E5'),
        ('seq05_frame_0001', 'seq05_frame'),
        ('0000123', 'folder'),
    ])
    def test_a_file_name_says_its_drive(self, name: str, drive: str) -> None:
        assert drive_of(Path('folder', f'{name}.jpg')) == drive

    def test_a_split_may_be_a_list_of_drives(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path / 'd', {'a_1': [], 'a_2': [], 'b_1': [ROW]}, ['car', 'bus'])
        (tmp_path / 'drives.txt').write_text('a\n\n')
        data = open_dataset(f'yolo:{root}@{tmp_path / "drives.txt"}')
        assert [path.stem for path in data.images] == ['a_1', 'a_2']
        assert data.title.endswith('drives.txt')

    def test_a_drive_without_images_is_an_error(self, tmp_path: Path) -> None:
        root = write_yolo(tmp_path / 'd', {'a_1': [ROW]}, ['car', 'bus'])
        (tmp_path / 'drives.txt').write_text('c\n')
        with pytest.raises(DatasetError, match='drives c; expected some of a'):
            open_dataset(f'yolo:{root}@{tmp_path / "drives.txt"}')


class TestCamvid:

    def test_void_is_not_known_and_other_ids_keep_their_names(self, tmp_path: Path) -> None:
        ids = np.full((64, 96), 11, np.uint8)
        ids[0, :3] = (3, 8, 255)
        data = open_dataset(f'camvid:{write_masks(tmp_path, {"a": picture(96, 64)}, {"a": ids})}')
        assert isinstance(data, MaskDataset)
        truth = data.truth(data.images[0])
        assert [data.classes[i] for i in truth[0, :2]] == ['road', 'car']
        assert (truth[1:] == 255).all()
        assert truth[0, 2] == 255

    def test_names_of_its_own(self, tmp_path: Path) -> None:
        ids = np.array([[0, 1, 2]], np.uint8)
        root = write_masks(
            tmp_path, {'a': picture(3, 1)}, {'a': ids}, ['Ignore', 'grass', 'water']
        )
        data = open_dataset(f'camvid:{root}')
        assert isinstance(data, MaskDataset)
        assert data.classes == ('grass', 'water')
        assert data.truth(data.images[0]).tolist() == [[255, 0, 1]]

    def test_an_unknown_id_is_named(self, tmp_path: Path) -> None:
        ids = np.full((1, 3), 12, np.uint8)
        data = open_dataset(f'camvid:{write_masks(tmp_path, {"a": picture(3, 1)}, {"a": ids})}')
        assert isinstance(data, MaskDataset)
        with pytest.raises(DatasetError, match=r'a\.png: .*got 12'):
            data.truth(data.images[0])

    def test_a_colour_label_is_refused(self, tmp_path: Path) -> None:
        root = write_masks(tmp_path, {'a': picture(3, 1)}, {'a': picture(3, 1)})
        data = open_dataset(f'camvid:{root}')
        assert isinstance(data, MaskDataset)
        with pytest.raises(DatasetError, match='one channel'):
            data.truth(data.images[0])

    def test_a_missing_label_is_named(self, tmp_path: Path) -> None:
        ids = np.zeros((64, 96), np.uint8)
        root = write_masks(tmp_path, {'a': picture(96, 64)}, {'a': ids})
        (root / 'labels' / 'a.png').unlink()
        with pytest.raises(DatasetError, match=r'labels/a\.png'):
            open_dataset(f'camvid:{root}')


def coco() -> dict[str, Any]:
    return {
        'images': [{'id': 7, 'file_name': 'a.png'}],
        'categories': [{'id': 3, 'name': 'car'}, {'id': 90, 'name': 'bus'}],
        'annotations': [
            {'image_id': 7, 'category_id': 90, 'bbox': [10, 20, 30, 5], 'iscrowd': 0},
            {'image_id': 7, 'category_id': 3, 'bbox': [0, 0, 9, 9], 'iscrowd': 1},
        ],
    }


class TestCoco:

    @pytest.mark.parametrize('folder', ['annotations', 'annotations/images', 'images', '.'])
    def test_images_are_found_and_boxes_read(self, tmp_path: Path, folder: str) -> None:
        for place in ('annotations', folder):
            (tmp_path / place).mkdir(exist_ok=True, parents=True)
        assert cv2.imwrite(str(tmp_path / folder / 'a.png'), picture(96, 64))
        path = tmp_path / 'annotations' / 'all.json'
        path.write_text(json.dumps(coco()))
        data = boxes(f'coco:{path}')
        truth = data.truth(data.images[0], (96, 64))
        assert truth.boxes.tolist() == [[10, 20, 40, 25], [0, 0, 9, 9]]
        assert [data.classes[i] for i in truth.labels] == ['bus', 'car']
        assert truth.crowd.tolist() == [False, True]

    def test_a_missing_image_is_named_with_the_places(self, tmp_path: Path) -> None:
        path = tmp_path / 'all.json'
        path.write_text(json.dumps(coco()))
        with pytest.raises(DatasetError, match=r'a\.png not found in'):
            open_dataset(f'coco:{path}')

    @pytest.mark.parametrize(('key', 'value'), [
        ('annotations', [{'image_id': 7, 'category_id': 4, 'bbox': [0, 0, 1, 1]}]),
        ('annotations', [{'image_id': 8, 'category_id': 3, 'bbox': [0, 0, 1, 1]}]),
        ('annotations', [{'image_id': 7, 'category_id': 3, 'bbox': [0, 0, 1]}]),
        ('categories', None),
        ('images', []),
    ])
    def test_a_damaged_file_is_an_error(self, tmp_path: Path, key: str, value: Any) -> None:
        assert cv2.imwrite(str(tmp_path / 'a.png'), picture(96, 64))
        path = tmp_path / 'all.json'
        path.write_text(json.dumps(coco() | {key: value}))
        with pytest.raises(DatasetError, match=r'all\.json:(1: annotations\[0\]:)? expected'):
            open_dataset(f'coco:{path}')

    def test_what_is_no_json_is_an_error(self, tmp_path: Path) -> None:
        path = tmp_path / 'all.json'
        path.write_text('images:')
        with pytest.raises(DatasetError, match='readable COCO JSON'):
            open_dataset(f'coco:{path}')


@pytest.mark.parametrize('reference', ['data', 'pascal:data', 'yolo:', ':data'])
def test_a_reference_that_is_none_is_explained(reference: str) -> None:
    with pytest.raises(DatasetError, match='KIND:PATH'):
        open_dataset(reference)


@pytest.mark.parametrize('kind', ['yolo', 'camvid', 'coco'])
def test_nothing_there(kind: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='there is no'):
        open_dataset(f'{kind}:{tmp_path / "none"}')
    (tmp_path / 'images').mkdir()
    with pytest.raises(DatasetError, match='expected'):
        open_dataset(f'{kind}:{tmp_path}')
