"""Builders for samples, and a configuration that trains in seconds."""

from pathlib import Path

import numpy as np
import pytest

from perception_training.config import Config
from perception_training.data import Sample

SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'data'


@pytest.fixture
def shared() -> Path:
    """Give the folder of shared data, or skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip('no ../shared: needs its data sets')
    return SHARED


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Give a small run on small crops."""
    drives = tmp_path / 'drives.txt'
    drives.write_text('2018-05-22\n')
    return Config.model_validate({
        'data_root': tmp_path, 'run_dir': tmp_path / 'run', 'idd_val_drives': drives,
        'width': 128, 'height': 96, 'workers': 0, 'threads': 1, 'log_every': 5, 'save_every': 1000,
        'batch': {'camvid': 1, 'idd': 1, 'clip': 0},
        'augment': {'crop_width': 128, 'crop_height': 96, 'scale_min': 1.0, 'scale_max': 1.0,
                    'flip': 0.0, 'colour': 0.0},
        'optim': {'steps': 60, 'warmup': 10, 'lr': 1e-3, 'lr_new': 1e-3}})


def street(name: str, box: tuple[int, int, int, int], label: int = 0, width: int = 128,
           height: int = 96) -> Sample:
    """Draw sky over road with one bright thing on it; the scene calls the thing a car."""
    image = np.full((height, width, 3), (90, 140, 230), np.uint8)
    image[height // 2:] = (80, 80, 80)
    scene = np.zeros((height, width), np.uint8)
    scene[height // 2:] = 3
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = (230, 40, 40) if label == 0 else (240, 220, 40)
    scene[y0:y1, x0:x1] = 8
    return Sample(name, image, np.array([box], np.float32), np.array([label], np.int64), scene)
