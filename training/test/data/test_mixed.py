"""Sets with different labels train one network: what a set leaves out is no background."""

from pathlib import Path

from builders import make_config
import numpy as np
import pytest

from perception_training.config import Config
from perception_training.data.readers import read_source
from perception_training.data.sample import NO_BOX, UNKNOWN, UNKNOWN_BOX
from perception_training.data.stream import Stream
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit

DRIVES = Path(__file__).resolve().parents[2] / 'splits/idd_val_drives.txt'


def mixed(shared: Path, folder: Path) -> Config:
    return make_config(folder, data__root=shared, fit__batch=3, fit__steps=1, width=64, height=64,
                       augment__width=64, augment__height=64, data__train=(
        {'reader': 'camvid', 'split': 'train'},
        {'reader': 'kitti', 'folder': 'kitti_sample', 'classes': {
            'Car': 'car', 'Van': 'car', 'Truck': 'truck', 'Pedestrian': 'person', '*': 'ignore'}},
        {'reader': 'idd', 'drives': DRIVES, 'held_out': False,
         'classes': {'motorbike': 'ignore'}}))


def test_a_batch_says_of_each_image_what_its_set_labels(shared: Path, tmp_path: Path) -> None:
    config = mixed(shared, tmp_path)
    sources = [read_source(s, config.labels, shared) for s in config.data.train]
    stream = Stream(sources, config)
    for number in range(4):
        camvid, kitti, idd = (batch := stream[number]).labelled.int().tolist()
        assert camvid == [0, 0, 0, 0, 0]  # label maps alone
        assert kitti == [1, 1, 1, 0, 0]  # no bus and no bicycle has a box there
        assert idd == [1, 1, 1, 1, 1]
        known = (batch.semantic['scene'] != UNKNOWN).flatten(1).any(1)
        assert known.tolist() == [True, False, False]
        seen = [set(labels.tolist()) - {NO_BOX} for labels in batch.labels]
        assert seen[0] == set()
        assert seen[1] <= {UNKNOWN_BOX, 0, 1, 2}


@pytest.mark.slow
def test_it_trains(shared: Path, tmp_path: Path) -> None:
    config = mixed(shared, tmp_path)
    fit(config)
    for entry in read_numbers(config.run_dir):
        terms = [entry[name] for name in ('boxes/box', 'boxes/classes', 'scene/cross_entropy')]
        assert np.isfinite(terms).all() and min(terms) > 0
