"""The loop learns, stops and resumes."""

import itertools
import os
from pathlib import Path
import signal
from types import SimpleNamespace
from typing import Any

from builders import ALONE, batch_of, make_config, sources, STREETS
import numpy as np
import pytest
import torch

from perception_training.config import Config
from perception_training.data.readers import Kept
from perception_training.data.sample import Sample
from perception_training.errors import CheckpointError, TrainingError
from perception_training.fitting import loop
from perception_training.fitting.guard import is_out_of_memory, out_of_memory
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit, restored
from perception_training.fitting.run import Run, Trained
from perception_training.fitting.transfer import take_over
from perception_training.measuring.predict import network_predictor
from perception_training.models import build


def losses(config: Config) -> list[float]:
    return [entry['loss'] for entry in read_numbers(config.run_dir) if 'loss' in entry]


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_a_few_images_are_learnt_by_heart(tmp_path: Path) -> None:
    """A wrong sign, shift or stride anywhere in targets, losses or decoding keeps this apart."""
    config = make_config(tmp_path, fit__steps=110, fit__ema=0.9, fit__optimiser={'lr': 2e-3})
    run = fit(config, sources())
    first, *_, last = read_numbers(config.run_dir)
    assert last['boxes/box'] < 0.3 * first['boxes/box']
    assert last['scene/cross_entropy'] < 0.4 * first['scene/cross_entropy']
    predict = network_predictor(run.average, config)
    for sample in STREETS:
        found = predict(sample.image)
        assert found.labels[0] == sample.labels[0]
        np.testing.assert_allclose(found.boxes[0], sample.boxes[0], atol=6)
        assert (found.semantic['scene'] == sample.semantic['scene']).mean() > 0.9


def test_a_resumed_run_repeats_the_losses_bit_for_bit(tmp_path: Path) -> None:
    """An interrupted run must be the run that was not interrupted."""
    lively = {'augment__scale_min': 0.7, 'augment__colour': 1.0, 'fit__save_every': 3}
    whole = make_config(tmp_path / 'whole', **lively, fit__steps=6)
    reference = fit(whole, sources())
    parted = make_config(tmp_path / 'parted', **lively, fit__steps=6)
    with pytest.raises(KeyboardInterrupt):
        fit(parted, [Interrupted(4 * parted.fit.batch)])
    assert len(losses(parted)) == 4  # one step beyond the checkpoint, which is done again
    resumed = fit(parted, sources())
    assert losses(parted) == losses(whole)
    assert same(resumed.network, reference.network)
    assert same(resumed.average, reference.average)
    assert same(restored(parted).network, reference.average)


@pytest.mark.parametrize('changes', [
    pytest.param({'fit__precision': 'fp16', 'loss__balance': 'uncertainty'},
                 id='fp16-uncertainty', marks=pytest.mark.slow),
    pytest.param({'model': {'name': 'deeplabv3plus', 'encoder': 'mobilenet_v2'},
                  'labels__boxes': (), 'loss__heads': {}, 'fit__precision': 'bf16',
                  'fit__accumulate': 2, 'augment__mosaic': 0.5,
                  'fit__optimiser': {'name': 'sgd', 'lr': 1e-3}},
                 id='bf16-dropout-accumulate-mosaic-momentum',
                 marks=pytest.mark.slow),
    pytest.param({'fit__start': {'freeze': ['trunk.*'], 'thaw': 1},
                  'fit__optimiser': {'name': 'rmsprop', 'lr': 1e-4}}, id='thawed-before'),
])
def test_a_checkpoint_lacks_nothing(tmp_path: Path, changes: dict[str, Any]) -> None:
    """Whatever is left out of it makes the next loss another one."""
    settings = {'fit__steps': 4, 'fit__save_every': 2, 'fit__evaluate_every': 3,
                'fit__schedule': {'name': 'poly', 'warmup': 2}, 'augment__width': 32,
                'augment__height': 32, 'augment__scale_min': 0.7, 'augment__colour': 1.0,
                **changes}
    whole, parted = (make_config(tmp_path / name, **settings) for name in ('whole', 'parted'))
    reference = fit(whole)
    with pytest.raises(KeyboardInterrupt):
        fit(parted, evaluate=interrupt)
    assert len(losses(parted)) == 3
    resumed = fit(parted)
    assert 'resumed at step 2' in (parted.run_dir / 'log.txt').read_text()
    assert losses(parted) == losses(whole)
    assert len(set(losses(whole))) == 4
    for name in ('network', 'average', 'objective'):
        assert same(getattr(resumed, name), getattr(reference, name))
    assert resumed.scaler.state_dict() == reference.scaler.state_dict()


def interrupt(trained: Trained) -> dict[str, Any]:
    raise KeyboardInterrupt


class Interrupted(Kept):
    """Streets whose reader is stopped, as by Ctrl-C, after some images."""

    def __init__(self, images: int) -> None:
        super().__init__('streets', list(STREETS))
        self.left = images

    def __getitem__(self, index: int) -> Sample:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().__getitem__(index)


def test_the_schedule_also_ends_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine must not leave a run without its low learning rates at the end."""
    config = make_config(tmp_path, fit__steps=10 ** 6, fit__max_minutes=0.02)
    # A clock of our own, a tenth of a second a look: how busy this machine is must not matter.
    ticks = itertools.count()
    monkeypatch.setattr(loop, 'time', SimpleNamespace(monotonic=lambda: next(ticks) / 10))
    run = fit(config, sources())
    assert 5 < run.step < 100
    assert max(g['lr'] for g in run.optimiser.param_groups) < 0.2 * config.fit.optimiser.lr


@pytest.mark.parametrize(('optimiser', 'lr', 'schedule'), [
    ('sgd', 4e-3, 'poly'), ('rmsprop', 5e-4, 'cosine'), ('adamw', 1e-3, 'constant')])
def test_every_optimiser_and_schedule_lowers_the_loss(
    tmp_path: Path, optimiser: str, lr: float, schedule: str
) -> None:
    config = make_config(
        tmp_path, fit__steps=12, fit__optimiser={'name': optimiser, 'lr': lr},
        fit__schedule={'name': schedule, 'warmup': 2})
    fit(config, sources())
    assert losses(config)[-1] < 0.95 * losses(config)[0]


def test_accumulated_batches_learn_what_a_larger_one_does(tmp_path: Path) -> None:
    """Without normalisation over the batch and with labels everywhere they are the same mean."""
    scene = {'labels__boxes': (), 'fit__optimiser': {'name': 'sgd'}}
    whole = Run(make_config(tmp_path / 'a', **scene), ALONE)
    parts = Run(make_config(tmp_path / 'b', **scene, fit__accumulate=2), ALONE)
    for run in (whole, parts):
        for module in run.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.requires_grad_(False)  # keeps its statistics
    whole.train_step([batch_of()])
    parts.train_step([batch_of(STREETS[:1]), batch_of(STREETS[1:])])
    for (name, a), b in zip(whole.network.named_parameters(), parts.network.parameters(),
                            strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_half_precision_trains_to_nearly_the_same_loss(tmp_path: Path, precision: str) -> None:
    full = Run(make_config(tmp_path), ALONE)
    half = Run(make_config(tmp_path, fit__precision=precision), ALONE)
    expected, got = (float(run.train_step([batch_of()])['loss']) for run in (full, half))
    assert got == pytest.approx(expected, rel=0.03)
    assert got != expected
    assert half.scaler.is_enabled() == (precision == 'fp16')


def test_a_loss_that_is_not_finite_stops_and_keeps_its_batch(tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config.run_dir.mkdir()
    run = Run(config, ALONE)
    batch = batch_of()
    batch.boxes[0, 0, 2] = float('nan')
    with pytest.raises(TrainingError, match=r'step 0 is not finite: boxes/.*bad_batch_0_0.npz'):
        run.train_step([batch])
    with np.load(config.run_dir / 'bad_batch_0_0.npz', allow_pickle=False) as kept:
        assert kept['names'].tolist() == ['a', 'b']
        np.testing.assert_array_equal(kept['images'], batch.images)
        assert np.isnan(kept['boxes']).any()


def test_running_out_of_memory_gives_advice(config: Config) -> None:
    """The allocator's own error, of a tensor that no machine holds."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60)
    assert is_out_of_memory(caught.value)
    advice = str(out_of_memory(config, caught.value))
    assert 'fit.batch=1 fit.accumulate=2' in advice and 'fit.precision=bf16' in advice
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError('could not create a primitive'))  # of oneDNN
    assert not is_out_of_memory(RuntimeError('shapes do not fit'))


class Killed(Kept):
    """The kernel ends processes without a word when memory is full."""

    def __getitem__(self, index: int) -> Sample:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


def test_a_killed_worker_gives_advice(tmp_path: Path) -> None:
    config = make_config(tmp_path, data__workers=1)
    with pytest.raises(TrainingError, match=r'killed, most likely .* less than data.workers=1'):
        fit(config, [Killed('killed', list(STREETS))])


def test_frozen_layers_stay_until_they_are_thawed(tmp_path: Path) -> None:
    start = {'freeze': ['trunk.*', 'heads.scene.fine.*'], 'thaw': 1}
    run = Run(make_config(tmp_path, fit__start=start, fit__schedule__warmup=0), ALONE)
    before = {n: v.clone() for n, v in run.network.state_dict().items()}
    run.train_step([batch_of()])
    held = [n for n in before if n.startswith(('trunk.', 'heads.scene.fine.'))]
    assert all(torch.equal(before[n], run.network.state_dict()[n]) for n in held)
    assert not torch.equal(before['heads.scene.classes.weight'],
                           run.network.state_dict()['heads.scene.classes.weight'])
    run.train_step([batch_of()])
    moved = [n for n in held if not torch.equal(before[n], run.network.state_dict()[n])]
    assert len(moved) > 0.9 * len(held)


def test_a_pattern_that_freezes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"'trunks.\*' fits no layer"):
        Run(make_config(tmp_path, fit__start={'freeze': ['trunks.*']}), ALONE)


def test_another_class_list_keeps_all_but_the_class_layers(tmp_path: Path) -> None:
    old = make_config(tmp_path / 'old', fit__steps=1)
    fit(old, sources())
    new = make_config(
        tmp_path / 'new', labels__boxes=('car', 'van'), fit__optimiser={'lr_pretrained': 1e-5},
        fit__start={'checkpoint': old.run_dir / 'last.pt'})
    run = Run(new, ALONE)
    assert 'new: heads.boxes.levels.0.classes' in run.started_from
    assert torch.equal(run.network.state_dict()['trunk.backbone.stem.weight'],
                       restored(old).network.state_dict()['trunk.backbone.stem.weight'])
    peaks = {group['peak'] for group in run.optimiser.param_groups}
    assert peaks == {1e-5, 1e-3}


def test_blended_layers_lie_between_their_start_and_the_checkpoint(tmp_path: Path) -> None:
    """Weights halfway back keep what training forgot; layers that had no start are taken whole."""
    old = make_config(tmp_path / 'old', fit__steps=1)
    fit(old, sources())
    taught = restored(old).network.state_dict()
    network = build(old.model, old.labels, seed=7)
    begun = {name: value.clone() for name, value in network.state_dict().items()}
    network.pretrained = ('trunk.',)
    said = take_over(network, old.run_dir / 'last.pt', blend=0.25)
    assert '25% in' in said
    for name, value in network.state_dict().items():
        share = 0.25 if name.startswith('trunk.') and value.is_floating_point() else 1
        wanted = torch.lerp(begun[name].float(), taught[name].float(), share)
        torch.testing.assert_close(value.float(), wanted, msg=name)
    network.pretrained = ()
    with pytest.raises(CheckpointError, match=r'fit.start.blend: expected a network that starts'):
        take_over(network, old.run_dir / 'last.pt', blend=0.25)
    with pytest.raises(ValueError, match=r'start.blend: expected start.checkpoint'):
        make_config(tmp_path, fit__start={'blend': 0.5})
