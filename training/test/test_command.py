"""The command, as a user runs it."""

import json
from pathlib import Path
import subprocess
import sys

from perception_training.fitting.log import read_numbers

CONFIG = Path(__file__).resolve().parents[1] / 'configs/shapes.yaml'


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command, *overrides = words
    return subprocess.run(
        [sys.executable, '-m', 'perception_training.cli', command, '--config', str(CONFIG),
         *overrides], capture_output=True, text=True, timeout=200, cwd=CONFIG.parents[2])


def test_it_prints_all_settings_trains_measures_and_records(tmp_path: Path) -> None:
    done = run('fit', f'run_dir={tmp_path}', 'fit.steps=2', 'fit.batch=2', 'fit.log_every=1',
               'data.val.0.count=2', 'data.workers=1', 'fit.device=cpu')
    assert done.returncode == 0, done.stderr
    assert 'ema: 0.999' in done.stdout  # a default that the file leaves out
    assert 'metrics at step 2' in done.stdout
    entries = read_numbers(tmp_path)
    assert [entry['step'] for entry in entries] == [1, 2, 2]
    assert set(json.loads((tmp_path / 'metrics.json').read_text())['shapes 1']) == {
        'boxes', 'scene'}
    record = json.loads((tmp_path / 'run.json').read_text())
    assert record['command'][:2] == ['perception_train', 'fit']
    assert str(tmp_path) not in (tmp_path / 'run.json').read_text()


def test_what_is_wrong_is_said_in_one_line(tmp_path: Path) -> None:
    done = run('evaluate', f'run_dir={tmp_path}', 'fit.stesp=2')
    assert done.returncode == 1
    assert done.stderr == (
        f"perception_train: {CONFIG}: fit: unknown key 'stesp': did you mean 'steps'?\n")
