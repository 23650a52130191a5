"""There is an example of each network on each data set whose labels it can learn."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trees import (
    write,
    write_bdd,
    write_camvid,
    write_cityscapes,
    write_coco,
    write_kitti,
    write_yolo,
)
import yaml

from perception_ros.bundles.labels import COCO
from perception_training.config import load
from perception_training.config.compose import composed
from perception_training.data.readers import read_source

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
EXAMPLES = {path: load(path) for path in sorted(CONFIGS.glob('*.yaml'))}

# What a set's fragments are called by, and what they label.
KINDS = {'boxes': {'boxes'}, 'scene': {'scene'}, 'instances': {'boxes', 'masks'},
         'driving': {'boxes', 'scene'}}
# What a network learns all of; a multi-task one learns any part.
LEARNS = {'deeplabv3plus': {'scene'}, 'dfine': {'boxes'}, 'mask_rcnn': {'boxes', 'masks'},
          'roadscene': {'boxes', 'scene'}, 'roadseg': {'scene'}, 'rtdetrv2': {'boxes'},
          'segformer': {'scene'}, 'unet': {'scene'}, 'yolo': {'boxes'}}
PARTS = {'roadscene'}


def fragments(kind: str) -> dict[str, dict[str, Any]]:
    return {path.stem: composed(path) for path in sorted((CONFIGS / kind).glob('*.yaml'))}


DATA = [stem.rpartition('_')[::2] for stem in fragments('data') if '_' in stem]
SETS = {name for name, _ in DATA}
NETWORKS = {stem: raw['model'] for stem, raw in fragments('models').items() if 'model' in raw}


def learnt(model: dict[str, Any]) -> set[str]:
    return LEARNS[model['name']] | ({'masks'} if model.get('prototypes') else set())


def wanted() -> Iterator[tuple[str, str]]:
    """Give each network with each set that labels what it learns."""
    labelled = {name: [KINDS[kind] for of, kind in DATA if of == name] for name in sorted(SETS)}
    for stem, model in NETWORKS.items():
        for name, kinds in labelled.items():
            if name == 'camvid' and 'masks' not in learnt(model) and 'scene' not in learnt(model):
                continue  # connected regions of label maps are no boxes to learn a detector from
            if any((kind & learnt(model)) if model['name'] in PARTS else learnt(model) <= kind
                   for kind in kinds):
                yield stem, name


WANTED = list(wanted())


def test_sets_and_networks_are_those_that_there_are() -> None:
    """A test that finds no files would pass for ever."""
    assert {'bdd100k', 'camvid', 'cityscapes', 'coco', 'idd', 'kitti'} == SETS
    assert {'unet', 'deeplabv3plus', 'yolo', 'yolo_masks', 'roadscene'} <= set(NETWORKS)
    assert len(WANTED) >= 20


@pytest.mark.parametrize(('network', 'name'), WANTED)
def test_each_network_has_an_example_on_each_set_that_it_can_learn(
    network: str, name: str
) -> None:
    """Three lines that extend a network and a set; more would be settings that belong to these."""
    found = []
    for path in EXAMPLES:
        extends = yaml.safe_load(path.read_text()).get('extends', [])
        if f'models/{network}.yaml' in extends:
            found += [word for word in extends if word.startswith(f'data/{name}_')]
    assert len(found) == 1, f'expected an example that extends models/{network}.yaml and a ' \
        f'data/{name}_*.yaml, got {found}'


def test_no_two_examples_write_to_one_folder() -> None:
    # Both of the demonstration stand for one another.
    folders = [config.run_dir for path, config in EXAMPLES.items() if 'demo' not in path.stem]
    assert len(set(folders)) == len(folders)


def test_weather_can_be_added_to_any_example(tmp_path: Path) -> None:
    path = write(tmp_path / 'run.yaml', yaml.safe_dump(
        {'extends': [str(CONFIGS / 'yolo_n_idd.yaml'), str(CONFIGS / 'augment/weather.yaml')]}))
    augment = load(path).augment
    assert augment.rain.probability > 0
    assert augment.mosaic == EXAMPLES[CONFIGS / 'yolo_n_idd.yaml'].augment.mosaic > 0


@pytest.fixture(scope='module')
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with one or two images of each set, of training and validation."""
    root = tmp_path_factory.mktemp('sets')
    ids = np.full((50, 100), 7, np.uint8)
    for split in ('train', 'val'):
        write_cityscapes(root, 'bochum_0', ids, ids.astype(np.uint16), split)
        write_bdd(root, ['a'], split)
        write(root / f'bdd100k/labels/det_20/det_{split}.json', [{'name': 'a.jpg'}])
        write_camvid(root, {'x': np.zeros((8, 9), np.uint8)}, split)
        coco = write_coco(root, [], categories=COCO)
        for kind in ('annotations/instances', ''):
            old, new = (f'{kind}_{s}2017.json' if kind else f'{s}2017' for s in ('val', split))
            if not (coco / 'coco' / new).exists():
                (coco / 'coco' / new).symlink_to(coco / 'coco' / old)
    write_kitti(root, {'000000': '', '000001': ''})
    write(root / 'kitti.txt', '000001')
    write_yolo(root, {'BLR-2018-05-11_1': '', 'BLR-2018-03-22_1': ''}, folder='idd')
    write(root / 'idd.txt', '2018-05-11')
    return root


@pytest.mark.parametrize('path', EXAMPLES, ids=lambda path: path.stem)
def test_its_classes_fit_the_set(trees: Path, path: Path) -> None:
    """Every class of a set leads to one of ours or is left out on purpose."""
    config = EXAMPLES[path]
    for source in (*config.data.train, *config.data.val):
        if source.reader in ('shapes', 'video'):
            continue
        lists = {'kitti': {'frames': trees / 'kitti.txt'}, 'idd': {'drives': trees / 'idd.txt'}}
        changed = source.model_copy(update=lists.get(source.reader, {}))
        opened = read_source(changed, config.labels, trees)
        sample = opened[0]
        heads = set(config.labels.semantic) if sample.semantic else set()
        assert set(sample.semantic) == heads
        assert sample.semantic or config.labels.boxes
