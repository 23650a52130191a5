"""Everything that a step changes, and the step itself."""

import copy
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from perception_training.config import Config
from perception_training.data.sample import Batch
from perception_training.errors import CheckpointError
from perception_training.fitting import checkpoint
from perception_training.fitting.average import update_average
from perception_training.fitting.distributed import Place, synchronise_norms
from perception_training.fitting.guard import loss_is_not_finite
from perception_training.fitting.optimiser import factor, make_optimiser, set_rates
from perception_training.fitting.record import commit
from perception_training.fitting.teacher import Teacher
from perception_training.fitting.transfer import freeze, take_over, thaw, train_mode
from perception_training.losses.objective import Objective
from perception_training.models import build, Network
from perception_training.models.form import AS_BUILT, Form, reform

ACTIVATIONS = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class Trained(NamedTuple):
    """What is measured and delivered."""

    network: Network
    """With the averaged weights."""
    step: int
    seconds: float


class Run:
    """Network, its running average, optimiser, progress."""

    def __init__(self, config: Config, place: Place, form: Form = AS_BUILT) -> None:
        """
        Build the network and what trains it.

        :param form: what the checkpoint to resume from says was changed of the network.
        :raises TrainingError: weights to start from do not fit, or a name fits no layer.
        """
        fit = config.fit
        self.config, self.place = config, place
        self.step, self.seconds = 0, 0.0
        self.best: float | None = None  # of all that was measured; lies in best.pt
        self.started_from = ''
        network = build(config.model, config.labels, config.data.root, config.seed)
        reform(network, form)
        if fit.start.checkpoint is not None:
            self.started_from = take_over(
                network, fit.start.checkpoint, fit.start.blend)
        self._frozen = freeze(network, fit.start.freeze) > 0
        layout = torch.channels_last if fit.channels_last else torch.contiguous_format
        self.network = network.to(place.device, memory_format=layout)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(False)
        if fit.sync_bn and place.processes > 1:
            synchronise_norms(self.network, place.device)
        self.objective = Objective(self.network, config.loss, ACTIVATIONS[fit.precision],
                                   fit.channels_last, config.distil).to(place.device)
        self.teacher: Teacher | None = None
        self.optimiser = make_optimiser(
            self.network, list(self.objective.variances.parameters()), fit.optimiser)
        self.scaler = torch.amp.GradScaler(place.device.type, enabled=fit.precision == 'fp16')
        self._module = self._wrapped()

    @property
    def progress(self) -> float:
        """How much of the schedule is over, 0..1."""
        fit = self.config.fit
        done = self.step / fit.steps
        if fit.max_minutes is None:
            return min(1.0, done)
        return min(1.0, max(done, self.seconds / 60 / fit.max_minutes))

    @property
    def trained(self) -> Trained:
        """What there is so far."""
        return Trained(self.average, self.step, self.seconds)

    def train_step(self, batches: list[Batch]) -> dict[str, torch.Tensor]:
        """
        Do one step on `fit.accumulate` batches of this process.

        :returns: loss and unweighted terms, means over its batches, on the device.
        :raises TrainingError: the loss is not finite; the batch is kept.
        """
        fit = self.config.fit
        if self._frozen and fit.start.thaw is not None and self.step >= fit.start.thaw:
            self._frozen = False
            thaw(self.network)
            self._module = self._wrapped()
        self._seed()
        set_rates(self.optimiser, factor(fit.schedule, self.step, self.progress))
        train_mode(self.network)
        self.optimiser.zero_grad(set_to_none=True)
        means: dict[str, torch.Tensor] = {}
        for number, batch in enumerate(batches, 1):
            self._gather_gradients(number == len(batches))
            batch = batch.to(self.place.device)
            taught = None if self.teacher is None else self.teacher(batch.images)
            loss, terms = self._module(batch, taught)
            self.scaler.scale(loss / len(batches)).backward()
            # Looking waits for the device, so it has its next work first; weights are as before.
            if not torch.isfinite(loss):
                raise loss_is_not_finite(
                    self.config, batch, {n: float(v) for n, v in terms.items()}, self.step,
                    self.place.rank)
            for name, value in {'loss': loss.detach(), **terms}.items():
                means[name] = means.get(name, 0) + value / len(batches)
        self._apply()
        return means

    def _apply(self) -> None:
        fit = self.config.fit
        if fit.clip_norm is not None:
            self.scaler.unscale_(self.optimiser)
            nn.utils.clip_grad_norm_(self.objective.parameters(), fit.clip_norm)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.step += 1
        update_average(self.average, self.network, fit.ema, self.step)

    def _gather_gradients(self, now: bool) -> None:
        # Until the last batch of a step each process keeps its own.
        if isinstance(self._module, DistributedDataParallel):
            self._module.require_backward_grad_sync = now

    def _seed(self) -> None:
        # What is random in a step depends on its number alone: there is no state to be kept.
        words = [self.config.seed, self.step, self.place.rank]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1)[0]))

    def _wrapped(self) -> nn.Module:
        module: nn.Module = self.objective
        if self.config.fit.compile:
            module = torch.compile(module)  # type: ignore[assignment]
        if self.place.processes > 1:
            module = DistributedDataParallel(module)
        return module

    def state(self) -> checkpoint.State:
        """Give everything that a checkpoint holds."""
        form = self.network.form
        changed = {'form': form.model_dump_json()} if form != AS_BUILT else {}
        return {
            'network': self.network.state_dict(), 'average': self.average.state_dict(),
            'variances': self.objective.variances.state_dict(),
            'optimiser': self.optimiser.state_dict(), 'scaler': self.scaler.state_dict(),
            'step': self.step, 'seconds': self.seconds, 'best': self.best,
            'commit': commit() or '', **changed}

    def restore(self, state: checkpoint.State) -> None:
        """
        Go on where a checkpoint of the same network was.

        :raises CheckpointError: its tensors are those of another network or optimiser.
        """
        try:
            self.network.load_state_dict(state['network'])
            self.average.load_state_dict(state['average'])
            self.objective.variances.load_state_dict(state['variances'])
            self.optimiser.load_state_dict(_with_our_peaks(state['optimiser'], self.optimiser))
            self.scaler.load_state_dict(state['scaler'] if self.scaler.is_enabled() else {})
        except (KeyError, RuntimeError, ValueError) as error:
            first = ' '.join(str(error).split())[:200]
            raise CheckpointError(f'the checkpoint is of another network or optimiser: {first}; '
                                  'start another run_dir') from error
        self.step, self.seconds = int(state['step']), float(state['seconds'])


def _with_our_peaks(state: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Keep this run's learning rates and decay, which a user may have changed meanwhile."""
    groups = [{**theirs, 'peak': ours['peak'], 'weight_decay': ours['weight_decay']}
              for theirs, ours in zip(state['param_groups'], optimiser.param_groups, strict=True)]
    return {**state, 'param_groups': groups}
