"""The one declaration of a training run: typed, frozen, unknown keys refused."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
import yaml


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra='forbid')


class SourceConfig(_Strict):
    """How many images of one source a batch holds."""

    camvid: int = Field(7, ge=0, description='images of CamVid train per batch')
    idd: int = Field(6, ge=0, description='images of the IDD training drives per batch')
    clip: int = Field(3, ge=0, description='frames of the motorway clip per batch')

    @property
    def batch(self) -> int:
        """Images per batch."""
        return self.camvid + self.idd + self.clip


class AugmentConfig(_Strict):
    """Random views of a stored image; scales are relative to the letterboxed test size."""

    crop_width: int = Field(448, multiple_of=32, description='px')
    crop_height: int = Field(256, multiple_of=32, description='px')
    scale_min: float = Field(0.45, gt=0, description='1 = as large as at test time')
    scale_max: float = Field(1.8, gt=0, description='1 = as large as at test time')
    flip: float = Field(0.5, ge=0, le=1, description='probability of a mirrored view')
    colour: float = Field(1.0, ge=0, description='strength of colour changes, 0 = none')


class LossConfig(_Strict):
    """Weights of the loss terms and of the assigner."""

    objectness: float = 1.0
    classes: float = 1.0
    box: float = 4.0
    scene: float = 2.0
    teacher_scene: float = Field(0.5, ge=0, description='weight of pseudo-labelled pixels')
    topk: int = Field(10, ge=1, description='anchors that a box may claim')
    alpha: float = Field(1.0, description='exponent of the score in the alignment')
    beta: float = Field(6.0, description='exponent of the IoU in the alignment')


class OptimConfig(_Strict):
    """AdamW with warm-up and a cosine that ends at `steps` or after `max_minutes`."""

    steps: int = Field(6000, ge=1, description='optimiser steps')
    max_minutes: float | None = Field(
        None, gt=0, description='the cosine also ends after this many minutes of training, so '
        'that a busy machine still gives finished weights; null = exact repetition')
    warmup: int = Field(200, ge=1, description='steps')
    lr: float = Field(1e-3, gt=0, description='peak learning rate of pretrained layers')
    lr_new: float = Field(2e-3, gt=0, description='peak learning rate of new layers')
    weight_decay: float = 0.02
    clip_norm: float = 10.0
    ema_decay: float = Field(0.999, ge=0, lt=1)


class Config(_Strict):
    """A whole run."""

    data_root: Path = Field(description='the folder with camvid, idd, clips and models')
    run_dir: Path = Field(description='checkpoints, records and metrics go here')
    idd_val_drives: Path = Field(description='recording dates held out, one a line')
    start_from: Path | None = Field(
        None, description='YOLOX-nano ONNX below data_root/models whose weights the backbone, '
        'neck and box head start from; null = random weights')
    width: int = Field(640, multiple_of=32, description='network input, px')
    height: int = Field(384, multiple_of=32, description='network input, px')
    seed: int = 0
    threads: int = Field(2, ge=1)
    workers: int = Field(1, ge=0)
    log_every: int = Field(20, ge=1, description='steps')
    save_every: int = Field(200, ge=1, description='steps')
    eval_every: int = Field(1500, ge=1, description='steps')
    batch: SourceConfig = SourceConfig()
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    optim: OptimConfig = OptimConfig()


def load(path: Path, overrides: list[str] | None = None) -> Config:
    """
    Read a YAML file and apply `key=value` overrides (`optim.steps=10`).

    :raises ValueError: an override is not `key=value`; unknown or mistyped keys are named.
    """
    raw: dict[str, Any] = yaml.safe_load(path.read_text())
    for item in overrides or []:
        key, separator, value = item.partition('=')
        if not separator:
            raise ValueError(f'override must look like key=value, got {item!r}')
        node = raw
        *parents, leaf = key.split('.')
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = yaml.safe_load(value)
    return Config.model_validate(raw)
