"""Bags of drawn pictures with labels, and configurations to replay them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from perception_ros.bags.writer import BagWriter
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.recording import Recorder, RecordOptions
from test.builders import COLOURS, picture, write_real_bundle

SIZE = (96, 64)
"""Of the pictures: the network's own, so that nothing is resized."""


def drawn_bag(
    path: Path, frames: int = 8, cameras: tuple[str, ...] = ('front', 'rear'),
    missing: tuple[tuple[str, int], ...] = (),
) -> Path:
    """Write a bag with one rectangle in each picture, its box and its mask as the labels.

    :param missing: (camera, index) of pictures that are left out.
    """
    names = [*COLOURS]
    with BagWriter(path, overwrite=True) as writer:
        recorder = Recorder(writer, RecordOptions(head='ground', transport='raw'))
        for index in range(frames):
            for camera in cameras:
                if (camera, index) in missing:
                    continue
                time_ns, label = recorder.time_ns(index, 10.0), index % len(names)
                box = (8 + index % 40, 8, 48 + index % 40, 40)
                pixels = picture(*SIZE, **{names[label]: box})
                recorder.pixels(camera, time_ns, pixels)
                recorder.boxes(camera, time_ns, np.array([box], float), [names[label]], names)
                ids = np.full(SIZE[::-1], 3, np.uint8)
                ids[box[1]:box[3], box[0]:box[2]] = label
                recorder.label_map(camera, time_ns, ids, [*names, 'other'])
    return path


def configuration(folder: Path, backend: str = 'fake', **values: Any) -> Path:
    """Write a bundle and a parameter file for the drawn bags."""
    if not (folder / 'means').exists():
        write_real_bundle(folder / 'means')
    parameters: dict[str, Any] = {
        'camera_names': ['front', 'rear'],
        'model_names': ['colours'],
        'backend': backend,
        'models': {'colours': {'bundle': str(folder / 'means'), 'threads': 1}},
        **values,
    }
    path = folder / 'config.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    return path


def config(folder: Path, backend: str = 'fake', **values: Any) -> PerceptionConfig:
    """Return the same, read."""
    return read_parameter_file(configuration(folder, backend, **values))
