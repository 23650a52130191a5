"""Real pictures through the shipped network, made into a bag by the command that users have."""

from __future__ import annotations

from dataclasses import replace
import json
import os
from pathlib import Path
import subprocess
import sys

import pytest
import yaml

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.cli.main import main
from perception_ros.evaluation import evaluate, open_dataset
from test.bundles.shared import shared

ROOT = Path(__file__).parents[2]


def call(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.mark.slow
def test_masks_of_real_streets_are_as_good_as_evaluate_says(tmp_path: Path) -> None:
    """The same images, network and runtime: the same mIoU to the last digit."""
    data = shared('camvid')
    bag, config, output = tmp_path / 'b.mcap', tmp_path / 'c.yaml', tmp_path / 'out'
    made = call('bag', 'make', f'camvid:{data}@val', bag, '--frames', '3', '--head', 'scene')
    assert made == 0
    bundle = ROOT / 'engines' / 'roadscene'
    model = {'bundle': str(bundle), 'max_batch': 1, 'threads': 1}
    config.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'camera_names': ['camera'], 'model_names': ['roadscene'], 'backend': 'onnxruntime',
        'models': {'roadscene': model},
        'cameras': {'camera': {'transport': 'compressed'}},
    }}}))
    limits = tmp_path / 'limits.yaml'
    limits.write_text('limits: [mIoU >= 0.3, mAP50 >= 0.1]')
    status = call('replay', bag, '--config', config, '--output', output, '--limits', limits)
    assert status == 1, 'no boxes are labelled, so that limit cannot be kept'
    summary = json.loads((output / 'summary.json').read_text())
    assert summary['frames'] == {'inferred': 3, 'dropped': 0}
    loaded = Bundle.load(bundle)
    labelled = open_dataset(f'camvid:{data}@val')
    labelled = replace(labelled, images=labelled.images[:3])
    with open_engine(loaded, 'onnxruntime', EngineOptions(max_batch=1, threads=1)) as engine:
        expected = evaluate(loaded.manifest, engine, labelled)
    assert summary['mIoU'] == expected.figures['miou']


ON_CORES = """
import os, sys
from perception_ros.cli.main import main
os.sched_setaffinity(0, {int(core) for core in sys.argv.pop(1).split(',')})
main()
"""


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_real_cameras_give_the_same_tables_on_one_core_and_on_all(tmp_path: Path) -> None:
    bag, config = tmp_path / 'b.mcap', tmp_path / 'c.yaml'
    assert call('bag', 'make', f'nuscenes:{shared("nuscenes_sample")}', bag) == 0
    config.write_text(yaml.safe_dump({'/**': {'ros__parameters': {
        'camera_names': [''], 'model_names': ['roadscene'], 'backend': 'onnxruntime',
        'models': {'roadscene': {'bundle': str(ROOT / 'engines' / 'roadscene'), 'max_batch': 3}},
    }}}))
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        pytest.skip('needs two cores')
    outputs = []
    for use in (cores[:1], cores):
        outputs.append(tmp_path / str(len(use)))
        subprocess.run([
            sys.executable, '-c', ON_CORES, ','.join(map(str, use)), 'replay', bag,
            '--config', config, '--output', outputs[-1], '--no-results',
            '--cameras', 'CAM_FRONT,CAM_FRONT_RIGHT',
        ], cwd=ROOT, check=True)
    for table in ('detections.parquet', 'frames.parquet'):
        assert (outputs[0] / table).read_bytes() == (outputs[1] / table).read_bytes()
    counts = json.loads((outputs[0] / 'summary.json').read_text())['detections']['roadscene']
    assert sum(counts.values()) > 5
