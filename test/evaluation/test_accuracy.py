"""A whole measurement: images through an engine, answers against labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.core.errors import DatasetError, ImageError
from perception_ros.evaluation import evaluate, open_dataset
from test.builders import fake_bundle, picture, write_real_bundle
from test.evaluation.data import write_masks, write_yolo

RED, GREEN, BLUE, OTHER = range(4)


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Says red, green and blue at fixed places, and for each pixel its strongest channel."""
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


@pytest.fixture(params=[1, 2], ids=['batch 1', 'batch 2'])
def engine(bundle: Bundle, request: pytest.FixtureRequest) -> Iterator[Engine]:
    with open_engine(bundle, 'onnxruntime', EngineOptions(max_batch=request.param)) as opened:
        yield opened


def share(x1: int, y1: int, x2: int, y2: int) -> tuple[float, float, float, float]:
    return ((x1 + x2) / 2 / 96, (y1 + y2) / 2 / 64, (x2 - x1) / 96, (y2 - y1) / 64)


def test_boxes(bundle: Bundle, engine: Engine, tmp_path: Path) -> None:
    """The bundle says red at (0, 0, 20, 10) and green at (4, 4, 24, 14), whatever it sees."""
    names = ['green', 'violet', 'red']
    root = write_yolo(tmp_path, {
        'a': [(2, *share(0, 0, 20, 10)), (0, *share(50, 30, 70, 40))],
        'b': [(2, *share(0, 0, 20, 10)), (1, *share(4, 4, 24, 14))],
        'c': [(0, *share(4, 4, 24, 14))],
    }, names)
    accuracy = evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))
    assert accuracy.images == 3
    assert accuracy.boxes is not None
    # Equal scores count in the order of the images: red is right, right, wrong; green is wrong,
    # wrong, right, and one of two is missed.
    red, green = (accuracy.boxes.classes[name] for name in ('red', 'green'))
    assert (red.count, red.ap50) == (2, 1.0)
    assert (green.count, green.ap50) == (2, pytest.approx(51 / 101 / 3))
    assert accuracy.only_data == ('violet',)
    assert accuracy.only_model == ('blue',)
    assert accuracy.as_json()['classes']['red']['n'] == 2


def test_boxes_lie_in_the_source_images_pixels(tmp_path: Path) -> None:
    """The fake engine sees rectangles, also in an image that is letterboxed."""
    import cv2

    root = write_yolo(tmp_path, {'a': [(0, 0.5, 0.5, 0.5, 0.5)]}, ['red'])
    wide = cv2.cvtColor(picture(400, 120, red=(100, 30, 300, 90)), cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(root / 'images' / 'a.png'), wide)
    bundle = fake_bundle()
    with open_engine(bundle, 'fake') as engine:
        accuracy = evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))
    assert accuracy.figures == {'map50': 1.0, 'map': pytest.approx(1.0)}


def test_masks(bundle: Bundle, engine: Engine, tmp_path: Path) -> None:
    """Half of an image is red, and half of that half is labelled as blue."""
    pixels = picture(96, 64, red=(0, 0, 48, 64), green=(48, 0, 96, 64))
    ids = np.full((64, 96), GREEN, np.uint8)
    ids[:, :24], ids[:, 24:48] = RED, BLUE
    root = write_masks(
        tmp_path, {'a': pixels, 'b': pixels}, {'a': ids, 'b': ids}, ['red', 'green', 'blue']
    )
    accuracy = evaluate(bundle.manifest, engine, open_dataset(f'camvid:{root}'))
    found = {name: item.iou for name, item in accuracy.masks['ground'].classes.items()}
    assert found == {'red': 0.5, 'green': 1.0, 'blue': 0.0}
    assert accuracy.figures == {'miou': 0.5}
    assert accuracy.as_json()['heads']['ground']['pixel_accuracy'] == 0.75


def test_a_mask_of_another_size_than_its_image_is_refused(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    ids = np.zeros((32, 48), np.uint8)
    root = write_masks(tmp_path, {'a': picture(96, 64)}, {'a': ids}, ['red'])
    with pytest.raises(DatasetError, match='96x64 px.*got 48x32'):
        evaluate(bundle.manifest, engine, open_dataset(f'camvid:{root}'))


def test_data_without_a_common_class_are_refused(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    root = write_yolo(tmp_path, {'a': [(0, 0.5, 0.5, 0.5, 0.5)]}, ['rickshaw'])
    with pytest.raises(DatasetError, match='red, green, blue.*got rickshaw'):
        evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))
    renamed = open_dataset(f'yolo:{root}').renamed({'rickshaw': 'red'})
    assert evaluate(bundle.manifest, engine, renamed).boxes


def test_a_model_without_boxes_cannot_be_measured_by_boxes(tmp_path: Path) -> None:
    bundle = fake_bundle(detection=None)
    root = write_yolo(tmp_path, {'a': [(0, 0.5, 0.5, 0.5, 0.5)]}, ['red'])
    with open_engine(bundle, 'fake') as engine, pytest.raises(DatasetError, match='no boxes'):
        evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))


def test_an_image_that_cannot_be_read_is_named(
    bundle: Bundle, engine: Engine, tmp_path: Path
) -> None:
    root = write_yolo(tmp_path, {'a': [], 'b': [(0, 0.5, 0.5, 0.5, 0.5)]}, ['red'])
    (root / 'images' / 'b.png').write_bytes(b'GIF89a')
    with pytest.raises(ImageError, match=r'b\.png'):
        evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))
