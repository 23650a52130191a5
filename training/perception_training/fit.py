"""Train a network: one readable loop, checkpoints that resume exactly."""

from collections.abc import Callable
import copy
import json
import math
import os
from pathlib import Path
import sys
import time
from typing import Any

import torch
from torch import nn, Tensor
from torch.utils.data import DataLoader

from perception_training import teachers
from perception_training.config import Config
from perception_training.data import load_camvid, load_clip, load_idd, Sample, to_input, Views
from perception_training.losses import total_loss
from perception_training.model import anchors, load_yolox_nano, RoadScene

# glibc gives every big tensor back to the kernel and faults it in again: 3.5 times slower.
# Threads that spin while they wait take a busy machine's cores from each other.
PROCESS = {'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': str(10 ** 11),
           'MALLOC_TOP_PAD_': str(2 ** 28), 'THP_MEM_ALLOC_ENABLE': '1',
           'OMP_WAIT_POLICY': 'PASSIVE'}


def tune_process() -> None:
    """Start this process again with an allocator that keeps its memory, unless it has it."""
    if any(key not in os.environ for key in PROCESS):
        os.environ.update({k: os.environ.get(k, v) for k, v in PROCESS.items()})
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


class Run:
    """Everything that a step changes: network, its running average, optimiser, progress."""

    def __init__(self, config: Config) -> None:
        self.config = config
        torch.manual_seed(config.seed)
        self.model = RoadScene()
        if config.start_from is not None:
            load_yolox_nano(self.model, config.data_root / 'models' / config.start_from)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = torch.optim.AdamW(_groups(self.model, config), betas=(0.9, 0.99))
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, Any]] = []

    @property
    def progress(self) -> float:
        """How much of the schedule is over, 0..1."""
        done = self.step / self.config.optim.steps
        limit = self.config.optim.max_minutes
        return min(1.0, done if limit is None else max(done, self.seconds / 60 / limit))

    def train_step(self, images: Tensor, targets: Any) -> dict[str, float]:
        """Do one step on uint8 `[B, H, W, 3]` and its targets; give the loss terms."""
        config = self.config.optim
        warm = min(1.0, (self.step + 1) / config.warmup)
        factor = warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.progress)))
        for group in self.optimizer.param_groups:
            group['lr'] = group['peak'] * factor
        self.model.train()
        x = to_input(images).contiguous(memory_format=torch.channels_last)
        centres, strides = anchors(x.shape[2], x.shape[3])
        loss, terms = total_loss(self.model(x), targets, centres, strides, self.config.loss)
        if not torch.isfinite(loss):
            raise FloatingPointError(f'loss is {loss.item()} at step {self.step}: {terms}; '
                                     'lower optim.lr or resume from the last checkpoint')
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.optimizer.step()
        self.step += 1
        # The average starts as a short one, so that it forgets the first steps.
        decay = min(config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for kept, new in zip(self.average.state_dict().values(),
                                 self.model.state_dict().values(), strict=True):
                if kept.is_floating_point():
                    kept.lerp_(new, 1 - decay)
                else:
                    kept.copy_(new)
        return {'loss': float(loss.detach()), **terms}

    def save(self, path: Path) -> None:
        """Write a checkpoint; a crash in the middle leaves the old one whole."""
        state = {'model': self.model.state_dict(), 'average': self.average.state_dict(),
                 'optimizer': self.optimizer.state_dict(), 'step': self.step,
                 'seconds': self.seconds, 'history': json.dumps(self.history)}
        part = path.with_suffix('.part')
        torch.save(state, part)
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Continue from a checkpoint; only tensors and plain values are read from it."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state['model'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        self.step, self.seconds = state['step'], state['seconds']
        self.history = json.loads(state['history'])


def load_sources(config: Config, log: Callable[[str], None] = print) -> dict[str, list[Sample]]:
    """Load all training images and let the teachers label what is missing."""
    sources = {'camvid': load_camvid(config, 'train'), 'idd': load_idd(config, held_out=False),
               'clip': load_clip(config)}
    log('images: ' + ', '.join(f'{k} {len(v)}' for k, v in sources.items()))
    kept = config.run_dir / 'teachers.npz'
    if kept.exists():
        return teachers.restore(sources, kept)
    start = time.monotonic()
    taught = teachers.teach(sources, config.data_root / 'models', config.loss.teacher_scene)
    teachers.save(taught, kept)
    log(f'teachers took {time.monotonic() - start:.0f} s')
    return taught


def fit(config: Config, sources: dict[str, list[Sample]] | None = None,
        evaluate: Callable[[Run], dict[str, Any]] | None = None) -> Run:
    """
    Train until the schedule ends, resuming from `run_dir/last.pt` where there is one.

    :param sources: images to use instead of the data sets, for tests.
    :param evaluate: called on the run every `eval_every` steps and at the end.
    """
    torch.set_num_threads(config.threads)
    config.run_dir.mkdir(parents=True, exist_ok=True)
    run = Run(config)
    last = config.run_dir / 'last.pt'
    if last.exists():
        run.load(last)
        _log(config, f'resumed at step {run.step}')
    views = Views(sources or load_sources(config, lambda t: _log(config, t)), config, run.step)
    loader = DataLoader(views, batch_size=None, num_workers=config.workers,
                        prefetch_factor=4 if config.workers else None)
    mean: dict[str, float] = {}
    before = time.monotonic()
    for images, targets in loader:
        terms = run.train_step(images, targets)
        now = time.monotonic()
        run.seconds += now - before
        before = now
        for key, value in terms.items():
            mean[key] = mean.get(key, 0.0) + value / config.log_every
        if run.step % config.log_every == 0:
            run.history.append({'step': run.step, 'seconds': round(run.seconds, 1),
                                **{k: round(v, 5) for k, v in mean.items()}})
            _log(config, f'step {run.step} {run.seconds / 60:.1f} min {run.progress:.1%} ' +
                 ' '.join(f'{k} {v:.3f}' for k, v in mean.items()))
            mean = {}
        over = run.progress >= 1
        if over or run.step % config.save_every == 0:
            run.save(last)
        if evaluate is not None and (over or run.step % config.eval_every == 0):
            _log(config, f'metrics at step {run.step}: {json.dumps(evaluate(run))}')
            before = time.monotonic()  # looking at it is not training
        if over:
            break
    return run


def _groups(model: RoadScene, config: Config) -> list[dict[str, Any]]:
    # Biases and normalisation are not decayed; layers without pretrained weights learn faster.
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        new = name.startswith('scene.') or config.start_from is None
        groups.setdefault((new, parameter.ndim > 1), []).append(parameter)
    return [{'params': parameters, 'peak': config.optim.lr_new if new else config.optim.lr,
             'lr': 0.0, 'weight_decay': config.optim.weight_decay if decayed else 0.0}
            for (new, decayed), parameters in groups.items()]


def _log(config: Config, text: str) -> None:
    line = f'{time.strftime("%Y-%m-%dT%H:%M:%S")} {text}'
    print(line, flush=True)
    with (config.run_dir / 'log.txt').open('a') as file:
        file.write(line + '\n')
