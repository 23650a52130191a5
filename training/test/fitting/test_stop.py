"""A run that is asked to end keeps its last step, and goes on from it."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from builders import make_config, sources
import pytest

from perception_training.config import load
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit, Look, restored
from perception_training.fitting.run import Trained
from perception_training.fitting.stop import HEEDED, StoppedError

CONFIG = Path(__file__).resolve().parents[2] / 'configs/shapes.yaml'
SETTINGS = ('fit.batch=2', 'fit.log_every=1', 'fit.device=cpu', 'fit.threads=1',
            'fit.save_every=1000', 'fit.schedule.name=constant', 'augment.width=64',
            'augment.height=64', 'data.val=[]')


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=lambda s: s.name)
def test_a_signal_ends_the_run_between_two_steps(tmp_path: Path, number: signal.Signals) -> None:
    config = make_config(tmp_path, fit__evaluate_every=2)
    handlers = [signal.getsignal(each) for each in HEEDED]

    def ask(trained: Trained) -> Look:
        os.kill(os.getpid(), number)
        return Look({}, 0.0, {})

    with pytest.raises(StoppedError, match=f'{number.name} ended the run after step 2') as caught:
        fit(config, sources(), evaluate=ask)
    assert caught.value.status == 128 + number
    assert restored(config).step == 2
    assert [signal.getsignal(each) for each in HEEDED] == handlers


@pytest.mark.parametrize('number', [
    pytest.param(signal.SIGINT, id='Ctrl-C', marks=pytest.mark.slow),
    pytest.param(signal.SIGTERM, id='scheduler', marks=pytest.mark.slow)])
def test_a_run_that_is_asked_to_end_keeps_its_step_and_goes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    """All processes of the run are asked, those that make batches too, as by a terminal."""
    words = [f'run_dir={tmp_path / "parted"}', *SETTINGS]
    run = subprocess.Popen(
        [sys.executable, '-m', 'perception_training.cli', 'fit', '--config', str(CONFIG), *words,
         'fit.steps=1000000', 'data.workers=1'], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, cwd=CONFIG.parents[2], start_new_session=True)
    numbers = tmp_path / 'parted/metrics.jsonl'
    while run.poll() is None and not (numbers.exists() and numbers.read_text()):
        time.sleep(0.02)
    os.killpg(run.pid, number)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 128 + number
    step = restored(load(CONFIG, [*words, 'fit.steps=1'])).step
    assert said == (f'perception_train: {number.name} ended the run after step {step}, which is '
                    f'kept in {tmp_path}/parted/last.pt: the same command goes on from there\n')

    words += [f'fit.steps={step + 2}', 'data.workers=0']
    parted, whole = load(CONFIG, words), load(CONFIG, [*words, f'run_dir={tmp_path / "whole"}'])
    fit(parted)
    fit(whole)
    resumed, expected = ([entry['loss'] for entry in read_numbers(config.run_dir)]
                         for config in (parted, whole))
    assert len(expected) == step + 2
    assert resumed == expected
