"""Decoded images are kept once for all, whole or not at all, and no longer than they are true."""

from multiprocessing import get_context
import os
from pathlib import Path
import pickle
import resource

import numpy as np
import pytest
from trees import write, write_cityscapes, write_yolo

from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import CityscapesConfig, YoloTextConfig
from perception_training.data.geometry import cut
from perception_training.data.readers import open_source, Source
from perception_training.data.readers.cache import Mapped
from perception_training.errors import DataError

LABELS = LabelsConfig(boxes=('car', 'person'), semantic={'scene': ('road', 'car')})
TEXT = YoloTextConfig(reader='yolo', folder='set', cache=True)
CITY = CityscapesConfig(reader='cityscapes', split='train', cache=True,
                        classes={'*': 'ignore'}, semantic_classes={'*': 'ignore'})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    texts = {f'{i}': '0 0.5 0.5 0.2 0.4\n' * i for i in range(5)}
    return write_yolo(tmp_path, texts, names=('car', 'person'))


def files(root: Path) -> list[str]:
    return sorted(path.suffix for path in (root / 'cache').iterdir())


def opened(root: Path, config: YoloTextConfig = TEXT) -> Source:
    return open_source(config, LABELS, root, root / 'cache')


def test_what_is_kept_is_what_was_read(tmp_path: Path) -> None:
    ids = np.full((50, 101), 7, np.uint8)
    instances = ids.astype(np.uint16)
    ids[20:30, 30:41], instances[20:30, 30:41] = 26, 26001
    root = write_cityscapes(tmp_path, 'aachen_0', ids, instances)
    kept = open_source(CITY, LABELS, root, root / 'cache')[0]
    read = open_source(CITY.model_copy(update={'cache': False}), LABELS, root)[0]
    assert kept.name == read.name
    assert kept.masks is not None and kept.masks.sum() == 110
    for key in ('image', 'boxes', 'labels', 'labelled', 'masks'):
        ours, theirs = getattr(kept, key), getattr(read, key)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs, err_msg=key)
    np.testing.assert_array_equal(kept.semantic['scene'], read.semantic['scene'])
    assert cut(kept, (-5, -5, 60, 40), 64, 32).image.shape == (32, 64, 3)


def test_the_second_one_decodes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(root)
    monkeypatch.setattr('perception_training.data.readers.images.read_rgb', None)
    second = opened(root)
    assert second.names == first.names == ('0', '1', '2', '3', '4')
    assert [len(second[i].boxes) for i in range(5)] == [0, 1, 2, 3, 4]
    np.testing.assert_array_equal(first[3].image, second[3].image)


def test_another_process_is_sent_the_place_alone(root: Path) -> None:
    """Workers that are spawned would otherwise each get a copy of all images."""
    text = pickle.dumps(opened(root))
    assert len(text) < 1000
    assert len(pickle.loads(text)[4].boxes) == 4


@pytest.mark.parametrize('changed', ['label', 'image', 'settings'])
def test_what_has_changed_is_read_anew(root: Path, changed: str) -> None:
    before = opened(root)[1]
    config = TEXT
    if changed == 'label':
        write(root / 'set/labels/1.txt', '1 0.5 0.5 0.2 0.4\n')
    elif changed == 'image':
        image = root / 'set/images/1.png'
        write(image, np.zeros((50, 100, 3), np.uint8))
        os.utime(image, ns=(0, 0))
    else:
        config = TEXT.model_copy(update={'max_side': 64})
    after = opened(root, config)[1]
    assert before.labels.tolist() != after.labels.tolist() or \
        before.image.shape != after.image.shape or (before.image != after.image).any()
    assert files(root) == ['.lock', '.lock', '.samples', '.samples']


def _open_and_count(root: Path) -> int:
    source = opened(root)
    assert isinstance(source, Mapped)
    return sum(len(source[i].boxes) for i in range(len(source)))


def test_processes_that_come_at_once_make_one_file(root: Path) -> None:
    with get_context('fork').Pool(3) as pool:
        assert pool.map(_open_and_count, [root] * 3) == [10] * 3
    assert files(root) == ['.lock', '.samples']


def test_a_disk_that_is_full_is_said_and_leaves_no_part(root: Path) -> None:
    """No file may grow beyond 20 kB: what the kernel then says is what a full disk says."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(DataError, match=r'set: cannot keep decoded images.*cache: false'):
            opened(root)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(root) == ['.lock']
    assert len(opened(root)) == 5


def test_a_damaged_image_is_named_and_leaves_no_part(root: Path) -> None:
    (root / 'set/images/3.png').write_bytes(b'no picture')
    with pytest.raises(DataError, match=r'3.png: .* cannot be decoded'):
        opened(root)
    assert files(root) == ['.lock']
