"""Masks of a few images are learnt by heart."""

from pathlib import Path
from typing import Any

from builders import make_config
import pytest

from perception_training.data.readers import open_source
from perception_training.fitting.loop import fit
from perception_training.measuring.evaluate import measure
from perception_training.measuring.predict import network_predictor

# Mask R-CNN with ResNet-18 and narrow heads: minutes of a CPU, where the full one takes hours.
NETWORKS = {
    'prototypes': ({'name': 'yolo', 'size': 'n', 'prototypes': 16}, 2e-3),
    'mask_rcnn': ({
        'name': 'mask_rcnn', 'backbone': 'resnet18', 'channels': 48, 'hidden': 128,
        'candidates': 60, 'proposals': 64, 'samples': 32, 'detections': 20,
        'anchors_px': [16, 32, 64, 96, 128]}, 1e-3)}


@pytest.mark.slow
@pytest.mark.parametrize('name', NETWORKS)
def test_eight_images_are_learnt_by_heart(name: str, tmp_path: Path) -> None:
    """A shift, a wrong level or a wrong object anywhere keeps masks from their pixels."""
    model, rate = NETWORKS[name]
    drawn: dict[str, Any] = {'reader': 'shapes', 'count': 8, 'seed': 3}
    config = make_config(
        tmp_path, labels={'boxes': ('car', 'person')}, model=model, data__train=[drawn], loss={},
        fit__steps=300, fit__batch=4, fit__ema=0.95, fit__optimiser={'lr': rate},
        fit__schedule={'warmup': 20})
    source = open_source(config.data.train[0], config.labels, tmp_path)
    run = fit(config, [source])
    found = measure(source, config, network_predictor(run.average, config))
    print(name, {head: found[head]['map50'] for head in ('boxes', 'masks')})
    assert found['boxes']['map50'] > 0.9
    assert found['masks']['map50'] > 0.9
