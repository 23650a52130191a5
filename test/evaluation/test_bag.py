"""Labelled bags as data sets: measured as the data that they were made of."""

from __future__ import annotations

from pathlib import Path
import shutil
from typing import Any

import numpy as np
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bags import messages
from perception_ros.bags.bag import Bag, open_bag
from perception_ros.bags.cut import cut
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import DatasetError, ImageError
from perception_ros.core.image import Image
from perception_ros.evaluation import Accuracy, evaluate, open_dataset
from perception_ros.evaluation.datasets import BoxDataset, MaskDataset
from perception_ros.recording import record, RecordOptions
from test.builders import fake_bundle, picture, write_real_bundle
from test.bundles.shared import shared
from test.evaluation.data import write_masks
from test.evaluation.test_kitti import line, SQUARE, write_kitti

TRUTH = '/front/ground_truth/detections'
RED = picture(96, 64, red=(10, 10, 40, 40))


def labelled(path: Path, *items: tuple[str, Any]) -> Path:
    """Write a bag with an image at 1 s and further messages of that stamp, a second later."""
    with BagWriter(path) as writer:
        head = messages.header(1_000_000_000, 'optical')
        image = messages.raw_image(head, Image.from_array(RED))
        writer.write('/front/image_raw', image, 1_500_000_000)
        for topic, message in items:
            writer.write(topic, message, 2_500_000_000)
    return path


def _figures(accuracy: Accuracy) -> dict[str, Any]:
    return {**accuracy.as_json(), 'dataset': ''}


def true_boxes(names: list[str | None], stamp_ns: int = 1_000_000_000) -> Any:
    boxes = np.array([[10, 10, 40, 40.0]] * len(names)).reshape(-1, 4)
    return messages.detections_2d(messages.header(stamp_ns, 'optical'), boxes, names)


def test_masks_are_measured_as_those_in_files(tmp_path: Path) -> None:
    pixels = picture(96, 64, red=(0, 0, 48, 64), green=(48, 0, 96, 64))
    ids = np.full((64, 96), 1, np.uint8)
    ids[:, :24] = 0
    root = write_masks(tmp_path / 'data', {'a': pixels}, {'a': ids}, ['red', 'green', 'blue'])
    record(f'camvid:{root}', tmp_path / 'bag.mcap', RecordOptions())
    bundle = write_real_bundle(tmp_path / 'means')
    with open_engine(bundle, 'onnxruntime', EngineOptions(max_batch=1)) as engine:
        results = [
            evaluate(bundle.manifest, engine, open_dataset(reference))
            for reference in (f'camvid:{root}', f'bag:{tmp_path / "bag.mcap"}')
        ]
    assert _figures(results[0]) == _figures(results[1])
    assert 0 < results[0].figures['miou'] < 1  # type: ignore[operator]


@pytest.mark.parametrize('suffix', ['.mcap', '.db3'])
def test_boxes_are_measured_as_those_in_files(tmp_path: Path, suffix: str) -> None:
    region = line('DontCare', (8, 8, 42, 42))
    root = write_kitti(tmp_path / 'data', [line('Car', SQUARE)], [region])
    shutil.copytree(shared('kitti_sample') / 'calib', root / 'calib')
    record(f'kitti:{root}', tmp_path / f'bag{suffix}', RecordOptions())
    bundle = fake_bundle()
    with open_engine(bundle, 'fake') as engine:
        results = [
            evaluate(bundle.manifest, engine, open_dataset(reference).renamed({'Car': 'red'}))
            for reference in (f'kitti:{root}', f'bag:{tmp_path / f"bag{suffix}"}')
        ]
    assert _figures(results[0]) == _figures(results[1])
    assert results[0].figures['map50'] == pytest.approx(1.0)


def test_stamps_say_what_belongs_together(tmp_path: Path) -> None:
    """And not when something was recorded; an image without labels is not measured."""
    path = labelled(
        tmp_path / 'bag.mcap', (TRUTH, true_boxes(['red'])),
        (TRUTH, true_boxes(['blue'], stamp_ns=9)),
    )
    data = open_dataset(f'bag:{path}')
    assert isinstance(data, BoxDataset)
    assert [str(key.relative_to(path)) for key in data.images] == ['front/1000000000']
    truth = data.truth(data.images[0], (96, 64))
    assert data.classes == ('red',), 'without label_info those that occur'
    assert truth.boxes.tolist() == [[10, 10, 40, 40]] and truth.labels.tolist() == [0]
    assert np.array_equal(data.read(data.images[0]).rgb(), RED)


def test_a_region_without_a_class_counts_for_none(tmp_path: Path) -> None:
    path = labelled(tmp_path / 'bag.mcap', (TRUTH, true_boxes(['red', None])), (
        f'{TRUTH}/label_info',
        messages.label_info(messages.header(1, ''), ('blue', 'red')),
    ))
    data = open_dataset(f'bag:{path}')
    assert isinstance(data, BoxDataset)
    truth = data.truth(data.images[0], (96, 64))
    assert data.classes == ('blue', 'red')
    assert (truth.labels.tolist(), truth.crowd.tolist()) == ([1, 0, 1], [False, True, True])


def test_a_bag_with_both_asks_which(tmp_path: Path) -> None:
    head = messages.header(1_000_000_000, 'optical')
    scene = '/front/ground_truth/semantic/scene'
    path = labelled(
        tmp_path / 'bag.mcap', (TRUTH, true_boxes(['red'])),
        (scene, messages.label_image(head, np.zeros((64, 96), np.uint8))),
        (f'{scene}/label_info', messages.label_info(head, ('road', 'sky'))),
    )
    with pytest.raises(DatasetError, match='detections, semantic/scene; say which .* @detections'):
        open_dataset(f'bag:{path}')
    assert isinstance(open_dataset(f'bag:{path}@detections'), BoxDataset)
    masks = open_dataset(f'bag:{path}@semantic/scene')
    assert isinstance(masks, MaskDataset) and masks.classes == ('road', 'sky')
    assert masks.title.endswith('@semantic/scene')
    with pytest.raises(DatasetError, match='it has no semantic/lane'):
        open_dataset(f'bag:{path}@semantic/lane')


@pytest.mark.parametrize(('items', 'said'), [
    ([], 'expected a labelled bag'),
    ([(TRUTH, true_boxes(['red'], stamp_ns=9))], 'none of them has an image'),
    ([('/front/ground_truth/semantic/scene',
       messages.label_image(messages.header(1_000_000_000, ''), np.zeros((64, 96), np.uint8)))],
     'nothing says what the ids of semantic/scene mean'),
])
def test_what_is_no_labelled_bag_is_refused(
    tmp_path: Path, items: list[tuple[str, Any]], said: str
) -> None:
    path = labelled(tmp_path / 'bag.mcap', *items)
    with pytest.raises(DatasetError, match=said):
        open_dataset(f'bag:{path}')


def test_labels_that_contradict_themselves_are_named(tmp_path: Path) -> None:
    head = messages.header(1_000_000_000, 'optical')
    scene = '/front/ground_truth/semantic/scene'
    ids = np.full((64, 96), 7, np.uint8)
    path = labelled(
        tmp_path / 'ids.mcap', (scene, messages.label_image(head, ids)),
        (f'{scene}/label_info', messages.label_info(head, ('road', 'sky'))),
    )
    data = open_dataset(f'bag:{path}')
    assert isinstance(data, MaskDataset)
    with pytest.raises(DatasetError, match=r'front_1000000000: expected class ids 0..1 .* got 7'):
        data.truth(data.images[0])
    path = labelled(
        tmp_path / 'names.mcap', (TRUTH, true_boxes(['red'])),
        (f'{TRUTH}/label_info', messages.label_info(head, ('blue',))),
    )
    boxes = open_dataset(f'bag:{path}')
    with pytest.raises(DatasetError, match="class 'red', which the bag does not list"):
        boxes.check()


def test_the_last_data_set_closes_the_bag(tmp_path: Path) -> None:
    path = labelled(tmp_path / 'bag.mcap', (TRUTH, true_boxes(['red'])))
    data = open_dataset(f'bag:{path}')
    renamed = data.renamed({'red': 'car'})
    renamed.read(renamed.images[0])
    del data
    assert path in open_files()
    del renamed
    assert path not in open_files()


def open_files() -> set[Path]:
    return {path.resolve() for path in Path('/proc/self/fd').iterdir()}


def test_an_image_that_cannot_be_read_any_more_is_an_error_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_dataset(f'bag:{labelled(tmp_path / "bag.mcap", (TRUTH, true_boxes(["red"])))}')
    monkeypatch.setattr(Bag, 'messages', lambda *arguments: iter(()))
    with pytest.raises(ImageError, match='is not there any more'):
        data.read(data.images[0])


def test_a_damaged_bag_is_no_measure(tmp_path: Path) -> None:
    """Figures should not depend on what happens to be readable; cutting says what that is."""
    path = labelled(tmp_path / 'bag.mcap', (TRUTH, true_boxes(['red'])))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DatasetError, match='whole; bag.mcap is damaged.*`perception_ros bag cut'):
        open_dataset(f'bag:{path}')
    with open_bag(path) as bag:
        cut(bag, tmp_path / 'whole.mcap')
    assert len(open_dataset(f'bag:{tmp_path / "whole.mcap"}').images) == 1


def test_a_file_that_is_no_bag_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'notes.txt').write_text('text')
    with pytest.raises(DatasetError, match='expected a bag'):
        open_dataset(f'bag:{tmp_path / "notes.txt"}')


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr('perception_ros.bags.find_spec', lambda name: None)
    with pytest.raises(Exception, match=r'perception_ros\[bags\]'):
        open_dataset(f'bag:{tmp_path}')
