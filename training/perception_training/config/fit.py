"""How the weights are found."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from perception_training.config.base import Settings


class OptimiserConfig(Settings):
    """Steps along the gradient."""

    name: Literal['sgd', 'adamw', 'rmsprop'] = 'adamw'
    lr: float = Field(1e-3, gt=0, description='peak learning rate')
    lr_pretrained: float | None = Field(
        None, gt=0, description='peak of layers that start from other weights; null: lr')
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd's and rmsprop's; adamw's first beta")
    beta2: float = Field(0.99, ge=0, lt=1, description="adamw's second beta, rmsprop's alpha")
    weight_decay: float = Field(0.02, ge=0, description='not of biases and normalisation')
    nesterov: bool = Field(True, description='of sgd with a momentum')


class ScheduleConfig(Settings):
    """The learning rate over time, relative to its peak."""

    name: Literal['cosine', 'poly', 'constant'] = 'cosine'
    warmup: int = Field(200, ge=0, description='steps of linear rise')
    final: float = Field(0.02, ge=0, le=1, description='where cosine and poly end')
    power: float = Field(0.9, gt=0, description='exponent of poly')


class StartConfig(Settings):
    """Begin from a checkpoint of another run, and hold parts of it still."""

    checkpoint: Path | None = Field(
        None, description='layers that have the same name and shape are taken over, averaged')
    blend: float = Field(
        1.0, ge=0, le=1, description="the checkpoint's share in layers that model.start gives "
        'too: half of each often keeps what either alone forgets (Wortsman et al. 2022)')
    freeze: tuple[str, ...] = Field(
        (), description="names of layers with shell wildcards, such as 'trunk.backbone.*'")
    thaw: int | None = Field(None, ge=1, description='step at which they are released')


class FitConfig(Settings):
    """One optimiser step sees batch x accumulate x processes images."""

    steps: int = Field(ge=1, description='optimiser steps')
    max_minutes: float | None = Field(
        None, gt=0, description='the schedule also ends after this many minutes of training, so '
        'that a busy machine still gives finished weights; null = exact repetition')
    batch: int = Field(16, ge=1, description='images that a process runs at once')
    accumulate: int = Field(1, ge=1, description='batches whose gradients are averaged')
    optimiser: OptimiserConfig = OptimiserConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    start: StartConfig = StartConfig()
    clip_norm: float | None = Field(10.0, gt=0, description='of all gradients; null = none')
    ema: float = Field(0.999, ge=0, lt=1, description='decay of the running average of weights')
    device: Literal['auto', 'cpu', 'cuda'] = 'auto'
    precision: Literal['fp32', 'bf16', 'fp16'] = Field(
        'fp32', description='of activations; losses are fp32 always')
    channels_last: bool = True
    compile: bool = Field(False, description='torch.compile; minutes at the start')
    sync_bn: bool = Field(False, description='statistics of normalisation over all processes')
    deterministic: bool = Field(False, description='refuse operators that do not repeat')
    threads: int | None = Field(None, ge=1, description='CPU threads of a process; null: torch')
    log_every: int = Field(20, ge=1, description='steps')
    save_every: int = Field(200, ge=1, description='steps')
    evaluate_every: int | None = Field(None, ge=1, description='steps; null: at the end only')
    tensorboard: bool = Field(False, description='curves in run_dir/tensorboard')

    @model_validator(mode='after')
    def _start_is_whole(self) -> Self:
        if self.start.thaw is not None and not self.start.freeze:
            raise ValueError('start.thaw: expected start.freeze to say what is frozen')
        if self.start.blend != 1 and self.start.checkpoint is None:
            raise ValueError('start.blend: expected start.checkpoint to say with what')
        return self
