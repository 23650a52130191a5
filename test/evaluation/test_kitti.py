"""KITTI's labels, and regions that nobody has labelled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import pytest

from perception_ros.backends import open_engine
from perception_ros.core.errors import DatasetError
from perception_ros.evaluation import evaluate, open_dataset
from perception_ros.evaluation.datasets import BoxDataset
from perception_ros.evaluation.datasets.kitti import CLASSES
from test.builders import fake_bundle, picture
from test.bundles.shared import shared

SQUARE = (10, 10, 40, 40)


def line(name: str, box: tuple[float, float, float, float]) -> str:
    return f'{name} 0.00 0 -0.20 {" ".join(map(str, box))} 1.89 0.48 1.20 1.84 1.47 8.41 0.01'


def write_kitti(root: Path, *labels: Sequence[str]) -> Path:
    """Write an image with a red square at (10, 10, 40, 40) for each list of lines."""
    for name in ('image_2', 'label_2'):
        (root / name).mkdir(parents=True, exist_ok=True)
    rgb = picture(96, 64, red=SQUARE)
    for number, lines in enumerate(labels):
        assert cv2.imwrite(str(root / 'image_2' / f'{number:06d}.png'), rgb[..., ::-1])
        (root / 'label_2' / f'{number:06d}.txt').write_text('\n'.join(lines))
    return root


def boxes(reference: str) -> BoxDataset:
    dataset = open_dataset(reference)
    assert isinstance(dataset, BoxDataset)
    return dataset


def test_the_real_ones() -> None:
    data = boxes(f'kitti:{shared("kitti_sample")}')
    assert [path.name for path in data.images] == ['000000.png', '000001.png', '000002.png']
    data.check()
    truth = data.truth(data.images[1], (1242, 375))
    named = [data.classes[label] for label in truth.labels[~truth.crowd]]
    assert named == ['Truck', 'Car', 'Cyclist']
    assert truth.boxes[1].tolist() == [387.63, 181.54, 423.81, 203.12]
    assert truth.crowd.sum() == 4 * len(CLASSES), 'each DontCare, of whatever class'


def test_a_split_is_a_folder(tmp_path: Path) -> None:
    root = write_kitti(tmp_path / 'training', [line('Car', SQUARE)]).parent
    assert len(boxes(f'kitti:{root}@training').images) == 1
    with pytest.raises(DatasetError, match='splits training: add @training'):
        open_dataset(f'kitti:{root}')


@pytest.mark.parametrize(('other', 'precision'), [
    pytest.param('', 0.5, id='unlabelled-is-wrong'),
    pytest.param(line('DontCare', (8, 8, 42, 42)), 1.0, id='region'),
    pytest.param(line('DontCare', (50, 0, 90, 60)), 0.5, id='region-elsewhere'),
    pytest.param(line('Van', SQUARE), 0.5, id='van-is-no-car'),
])
def test_what_lies_in_a_region_is_neither_to_be_found_nor_wrong(
    tmp_path: Path, other: str, precision: float
) -> None:
    """A car is found in both images, and labelled in one: found wrongly, or nobody knows."""
    root = write_kitti(tmp_path, [line('Car', SQUARE)], [other])
    bundle = fake_bundle()
    with open_engine(bundle, 'fake') as engine:
        data = open_dataset(f'kitti:{root}').renamed({'Car': 'red'})
        accuracy = evaluate(bundle.manifest, engine, data)
    assert accuracy.boxes is not None
    item = accuracy.boxes.classes['red']
    assert item.count == 1 and item.operating is not None
    assert item.operating.at(0.5).precision == precision


def test_a_van_may_be_called_a_car(tmp_path: Path) -> None:
    root = write_kitti(tmp_path, [line('Car', SQUARE)], [line('Van', SQUARE)])
    bundle = fake_bundle()
    with open_engine(bundle, 'fake') as engine:
        data = open_dataset(f'kitti:{root}').renamed({'Car': 'red', 'Van': 'red'})
        accuracy = evaluate(bundle.manifest, engine, data)
    assert accuracy.boxes is not None and accuracy.boxes.classes['red'].count == 2
    assert accuracy.figures['map50'] == pytest.approx(1.0)


@pytest.mark.parametrize(('text', 'said'), [
    ('Car 0 0 0 1 2 3 4', r'000000.txt:2: expected "type truncated'),
    ('Car 0 0 0 1 2 3 x 1 1 1 1 1 1 1', 'expected "type'),
    ('Car 0 0 0 1 2 3 nan 1 1 1 1 1 1 1', 'expected "type'),
    (line('Rickshaw', (1, 2, 3, 4)), "expected a class of Car, .* got 'Rickshaw'"),
    (line('Car', (3, 2, 1, 4)), 'left < right'),
])
def test_a_line_that_is_none_is_named(tmp_path: Path, text: str, said: str) -> None:
    root = write_kitti(tmp_path, [line('Car', (1, 2, 3, 4)), text])
    with pytest.raises(DatasetError, match=said):
        open_dataset(f'kitti:{root}').check()


def test_results_with_a_score_are_lines_too(tmp_path: Path) -> None:
    root = write_kitti(tmp_path, [line('Car', (1, 2, 3, 4)) + ' 0.9'])
    open_dataset(f'kitti:{root}').check()


def test_an_image_without_a_label_is_named(tmp_path: Path) -> None:
    root = write_kitti(tmp_path, [])
    (root / 'label_2' / '000000.txt').unlink()
    with pytest.raises(DatasetError, match='000000.png: expected its label'):
        open_dataset(f'kitti:{root}')
