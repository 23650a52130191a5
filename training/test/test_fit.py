"""The loop learns, stops and resumes."""

import itertools
import pickle
import time
from types import SimpleNamespace

from conftest import street
import numpy as np
import pytest
import torch

from perception_training import fit as fitting
from perception_training.config import Config
from perception_training.data import Views
from perception_training.evaluate import torch_predictor
from perception_training.fit import fit, Run

SOURCES = {'camvid': [street('a', (20, 40, 60, 72))],
           'idd': [street('b', (70, 44, 118, 90), label=2)], 'clip': []}


def _losses(run: Run) -> list[float]:
    return [entry['loss'] for entry in run.history]


def test_a_few_images_are_learnt_by_heart(config: Config) -> None:
    """A wrong sign, shift or stride anywhere in targets, losses or decoding keeps this apart."""
    config = config.model_copy(update={'optim': config.optim.model_copy(
        update={'steps': 150, 'ema_decay': 0.9})})
    run = fit(config, SOURCES)
    first, last = run.history[0], run.history[-1]
    assert last['box'] < 0.2 * first['box']
    assert last['scene'] < 0.4 * first['scene']
    predict = torch_predictor(run.average, config.width, config.height)
    for sample in (SOURCES['camvid'][0], SOURCES['idd'][0]):
        found = predict(sample.image)
        assert found.labels[0] == sample.labels[0]
        np.testing.assert_allclose(found.boxes[0], sample.boxes[0], atol=6)
        assert (found.scene == sample.scene).mean() > 0.9


def test_a_resumed_run_repeats_the_losses(config: Config) -> None:
    """An interrupted run must be the run that was not interrupted."""
    config = config.model_copy(update={'optim': config.optim.model_copy(update={'steps': 20})})
    whole = fit(config.model_copy(update={'run_dir': config.run_dir / 'whole'}), SOURCES)
    half = Run(config)
    views = Views(SOURCES, config, 0)
    for index in range(10):
        half.train_step(*views[index])
    half.save(config.run_dir / 'last.pt')
    resumed = fit(config, SOURCES)
    assert resumed.step == whole.step == 20
    expected = [e['loss'] for e in whole.history if e['step'] > 10]
    assert _losses(resumed) == pytest.approx(expected, rel=1e-4)


def test_the_schedule_also_ends_by_the_clock(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine must not leave a run without its low learning rates at the end."""
    config = config.model_copy(update={'optim': config.optim.model_copy(
        update={'steps': 10 ** 6, 'max_minutes': 0.05})})
    # A clock of our own, a tenth of a second a look: how busy this machine is must not matter.
    ticks = itertools.count()
    monkeypatch.setattr(fitting, 'time', SimpleNamespace(
        monotonic=lambda: next(ticks) / 10, strftime=time.strftime))
    run = fit(config, SOURCES)
    assert 10 < run.step < 100
    assert max(g['lr'] for g in run.optimizer.param_groups) < 0.1 * config.optim.lr


def test_a_checkpoint_with_code_in_it_is_refused(config: Config, tmp_path) -> None:
    """Loading a checkpoint must never run what it holds."""
    path = tmp_path / 'bad.pt'
    torch.save({'model': _Bomb()}, path)
    with pytest.raises(pickle.UnpicklingError):
        Run(config).load(path)


class _Bomb:
    def __reduce__(self):
        return print, ('ran',)
