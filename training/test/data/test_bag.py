"""Bags with labels give what was written into them, in every process that reads them."""

from multiprocessing import get_context
from pathlib import Path
from typing import Any

from builders import CLASSES, SCENE
import numpy as np
import pytest

from perception_ros.bags import messages
from perception_ros.bags.writer import BagWriter
from perception_ros.core.image import Image
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import BagConfig
from perception_training.data.classes import IGNORE
from perception_training.data.readers import open_source
from perception_training.data.readers.base import Source
from perception_training.data.sample import UNKNOWN, UNKNOWN_BOX
from perception_training.errors import DataError

LABELS = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE})
NAMES = ('person', 'car', 'tram')
BOXES = np.array([[1, 2, 11, 12], [3, 4, 20, 9], [0, 0, 5, 5], [5, 5, 9, 9]])


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (16, 24, 3), np.uint8)


def write(folder: Path, images: int = 6, maps: bool = True,
          names: tuple[str | None, ...] = ('car', 'tram', None, 'person')) -> None:
    """Write images of two cameras in turn, boxes of all of them, and a map of each first one."""
    with BagWriter(folder / 'drive.mcap') as writer:
        for i in range(images):
            camera, stamp = ('front', 'rear')[i % 2], 1_000_000_000 + i // 2 * 50_000_000
            head, truth = messages.header(stamp, camera), f'/{camera}/ground_truth'
            where = f'{truth}/detections'
            items: dict[str, Any] = {
                f'/{camera}/image_raw': messages.raw_image(head, Image.from_array(pixels(i))),
                where: messages.detections_2d(head, BOXES, names),
                f'{where}/label_info': messages.label_info(head, NAMES)}
            if maps and i < 2:
                ids = np.zeros((16, 24), np.uint8)
                ids[:4], ids[4:8] = 1, UNKNOWN
                where = f'{truth}/semantic/scene'
                items[where] = messages.label_image(head, ids)
                items[f'{where}/label_info'] = messages.label_info(head, ('road', 'sky'))
            for topic, message in items.items():
                writer.write(topic, message, stamp)


def opened(folder: Path, labels: LabelsConfig = LABELS, **settings: Any) -> Source:
    given = {'classes': {'tram': IGNORE}, **settings}
    return open_source(BagConfig(reader='bag', bag='drive.mcap', **given), labels, folder)


def test_images_boxes_and_maps_are_those_that_were_written(tmp_path: Path) -> None:
    write(tmp_path)
    source = opened(tmp_path)
    assert source.names[:2] == ('drive_front_1000000000', 'drive_front_1050000000')
    assert len(set(source.names)) == len(source) == 6
    sample = source[3]
    assert sample.name == 'drive_rear_1000000000'
    assert np.array_equal(sample.image, pixels(1))
    assert np.array_equal(sample.boxes, BOXES)
    assert sample.labels.tolist() == [0, UNKNOWN_BOX, UNKNOWN_BOX, 1]
    assert sample.labelled.tolist() == [True, True, False, False, False]
    ids = sample.semantic['scene']
    assert (ids[0, 0], ids[5, 0], ids[9, 0]) == (SCENE.index('sky'), UNKNOWN, SCENE.index('road'))


def test_what_an_image_has_no_message_of_is_unknown_in_it(tmp_path: Path) -> None:
    write(tmp_path)
    assert 'scene' not in opened(tmp_path)[1].semantic


def test_only_some_images_may_be_taken(tmp_path: Path) -> None:
    write(tmp_path)
    assert opened(tmp_path, cameras=('rear',), every=2).names == (
        'drive_rear_1000000000', 'drive_rear_1100000000')
    with pytest.raises(DataError, match=r"name some of \['front', 'rear'\], got \['left'\]"):
        opened(tmp_path, cameras=('left',))


def test_one_kind_of_labels_may_be_learnt_alone(tmp_path: Path) -> None:
    write(tmp_path)
    sample = opened(tmp_path, LabelsConfig(semantic={'scene': SCENE}), classes={})[0]
    assert len(sample.boxes) == len(sample.labelled) == 0 and 'scene' in sample.semantic
    with pytest.raises(DataError, match='labels of something that is learnt'):
        opened(tmp_path, LabelsConfig(semantic={'lane': ('a', 'b')}), classes={})


def test_a_class_that_leads_nowhere_and_one_that_is_not_listed(tmp_path: Path) -> None:
    write(tmp_path, names=('car', 'tram', None, 'horse'))
    with pytest.raises(DataError, match="class 'tram' leads to none of ours"):
        opened(tmp_path, classes={})
    with pytest.raises(DataError, match="drive_front_1000000000: expected one of .* got 'horse'"):
        opened(tmp_path)[0]


def test_a_bag_without_labels_or_none_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match='there is no bag'):
        opened(tmp_path)
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        head = messages.header(1, 'front')
        image = messages.raw_image(head, Image.from_array(pixels(0)))
        writer.write('/front/image_raw', image, 1)
    with pytest.raises(DataError, match='expected a labelled bag'):
        opened(tmp_path)


def test_a_damaged_bag_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    path = tmp_path / 'drive.mcap'
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match='whole; drive.mcap is damaged.*`perception_ros bag cut`'):
        opened(tmp_path)


@pytest.mark.parametrize('start', [
    'fork', pytest.param('spawn', marks=pytest.mark.slow)])  # which imports torch anew
def test_workers_read_it_at_the_same_time(tmp_path: Path, start: str) -> None:
    """Processes that fork share the position in an open file: each must open it for itself."""
    write(tmp_path, images=12, maps=False)
    source = opened(tmp_path)
    expected = [int(source[i].image.sum()) for i in range(len(source))]
    with get_context(start).Pool(2) as pool:
        found = pool.map(_Sum(source), [*range(len(source))] * 2, chunksize=1)
    assert found == expected * 2
    assert int(source[0].image.sum()) == expected[0], 'and it is still open here'


class _Sum:
    def __init__(self, source: Source) -> None:
        self._source = source

    def __call__(self, index: int) -> int:
        return int(self._source[index].image.sum())
