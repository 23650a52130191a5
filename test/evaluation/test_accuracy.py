"""A whole measurement: images through an engine, answers against labels."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from perception_ros.backends import Engine, EngineOptions, open_engine
from perception_ros.backends.base import Outputs
from perception_ros.backends.fake import FakeEngine
from perception_ros.bundles import Bundle
from perception_ros.bundles.manifest import MaskInfo
from perception_ros.core.errors import DatasetError, ImageError
from perception_ros.core.image_file import read_image
from perception_ros.evaluation import Accuracy, evaluate, open_dataset
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
    root = write_yolo(tmp_path, {'a': [(0, 0.5, 0.5, 0.5, 0.5)]}, ['red'])
    wide = cv2.cvtColor(picture(400, 120, red=(100, 30, 300, 90)), cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(root / 'images' / 'a.png'), wide)
    bundle = fake_bundle()
    with open_engine(bundle, 'fake') as engine:
        accuracy = evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))
    assert accuracy.figures == {'map50': 1.0, 'map': pytest.approx(1.0)}


def test_a_file_is_measured_as_the_node_sees_it(tmp_path: Path) -> None:
    """Decoded small: what is published of a model must be what it does in a vehicle."""
    root = write_yolo(tmp_path, {'a': [(0, 0.5, 0.5, 0.5, 0.5)]}, ['red'])
    wide = cv2.cvtColor(picture(768, 512, red=(195, 131, 579, 387)), cv2.COLOR_RGB2BGR)
    file = root / 'images' / 'a.jpg'
    assert cv2.imwrite(str(file), wide)
    file.with_suffix('.png').unlink()
    bundle, seen = fake_bundle(), []

    class Watched(FakeEngine):
        def _run(self, images: np.ndarray) -> Outputs:
            seen.append(images[0].copy())
            return super()._run(images)

    with Watched(bundle, max_batch=1) as engine:
        accuracy = evaluate(bundle.manifest, engine, open_dataset(f'yolo:{root}'))
    assert accuracy.figures['map50'] == 1.0
    np.testing.assert_array_equal(seen, [read_image(file).decoded((96, 64)).rgb()])


POLYGONS = [[10, 10, 30, 10, 30, 30, 10, 30]]
RUNS = {'size': [64, 96], 'counts': [60 * 64 + 10, *[20, 44] * 9, 20, 64 * 26 + 34]}


def coco_with_outlines(folder: Path, *outlines: object) -> Path:
    """Write an image with a red and a green square of 20 px, and these outlines of them."""
    pixels = picture(96, 64, red=(10, 10, 30, 30), green=(60, 10, 80, 30))
    assert cv2.imwrite(str(folder / 'a.png'), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    boxes = ([10, 10, 20, 20], [60, 10, 20, 20])
    path = folder / 'all.json'
    path.write_text(json.dumps({
        'images': [{'id': 1, 'file_name': 'a.png'}],
        'categories': [{'id': 1, 'name': 'red'}, {'id': 2, 'name': 'green'}],
        'annotations': [
            {'image_id': 1, 'category_id': i + 1, 'bbox': box,
             **({'segmentation': outline} if outline else {})}
            for i, (box, outline) in enumerate(zip(boxes, outlines, strict=True))]}))
    return path


def measured(path: Path, masks: bool = True) -> Accuracy:
    detection = fake_bundle().manifest.detection
    assert detection is not None
    info = MaskInfo(height=28, width=28) if masks else None
    bundle = fake_bundle(detection=detection.model_copy(update={'masks': info}))
    with open_engine(bundle, 'fake') as engine:
        return evaluate(bundle.manifest, engine, open_dataset(f'coco:{path}'))


def test_masks_of_boxes(tmp_path: Path) -> None:
    """The fake engine's masks fill their boxes: the second outline is half of its own."""
    accuracy = measured(coco_with_outlines(tmp_path, POLYGONS, RUNS))
    assert accuracy.boxes is not None and accuracy.instances is not None
    assert accuracy.boxes.map == pytest.approx(1)
    assert accuracy.instances.classes['red'].ap == pytest.approx(1)
    assert accuracy.instances.classes['green'].ap50 == 1
    assert accuracy.instances.classes['green'].ap == pytest.approx(0.1)
    assert accuracy.figures['mask_map'] == pytest.approx(0.55)
    assert accuracy.as_json()['instances']['classes']['green']['n'] == 1


def test_masks_are_measured_where_model_and_data_have_them_all(tmp_path: Path) -> None:
    path = coco_with_outlines(tmp_path, POLYGONS, RUNS)
    assert measured(path, masks=False).instances is None
    assert set(measured(path, masks=False).figures) == {'map50', 'map'}
    assert measured(coco_with_outlines(tmp_path, POLYGONS, None)).instances is None


@pytest.mark.parametrize('outline', [
    pytest.param({'size': [32, 96], 'counts': [32 * 96]}, id='of another size'),
    pytest.param({'size': [64, 96], 'counts': [64, 96]}, id='of some pixels'),
    pytest.param({'size': [64, 96], 'counts': '0T3'}, id='of some pixels, compressed'),
    pytest.param([[1, 2, 3]], id='odd'),
    pytest.param({'counts': [1]}, id='without size'),
    pytest.param('red', id='words'),
])
def test_an_outline_that_is_none_is_named(tmp_path: Path, outline: object) -> None:
    path = coco_with_outlines(tmp_path, POLYGONS, outline)
    with pytest.raises(DatasetError, match=r'json:1: annotations\[1\]: expected segmentation'):
        measured(path)


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
