"""YOLOX-nano, which a plain recipe ruins, on a few real images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from perception_ros.evaluation import open_dataset
from perception_ros.evaluation.datasets import drive_of
from perception_ros.quantization import Gate, quantize, Request
from perception_ros.quantization.record import figures
from test.bundles.shared import shared, yolox
from test.quantization.networks import untracked

CLASSES = ('car', 'bus', 'truck', 'person', 'motorbike', 'bicycle')
MEASURED = ('2018-05-22', '2018-06-11')


def links(target: Path, paths: Sequence[Path]) -> Path:
    target.mkdir(parents=True)
    for path in paths:
        (target / path.name).symlink_to(path)
    return target


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_gate_refuses_the_plain_recipe(tmp_path: Path) -> None:
    images = sorted(shared('idd', 'images').iterdir())
    measured = [path for path in images if drive_of(path) in MEASURED][::3]
    others = [path for path in images if drive_of(path) not in MEASURED][::20]
    root = links(tmp_path / 'data' / 'images', measured).parent
    links(root / 'labels', [shared('idd', 'labels', f'{path.stem}.txt') for path in measured])
    request = Request(
        yolox(), tmp_path / 'int8', 'int8', (links(tmp_path / 'others', others),),
        Gate((open_dataset(f'yolo:{root}', CLASSES),)), spare=False, rounds=0,
    )
    outcome = quantize(request, lambda sentence: None, untracked)
    assert outcome.problems[0].startswith('map50 on yolo:')
    (cars,) = [figure for figure in figures(outcome) if figure.name == 'AP50 car']
    assert cars.before and cars.after is not None
    assert cars.after < 0.5 * cars.before
    assert not (tmp_path / 'int8').exists()
