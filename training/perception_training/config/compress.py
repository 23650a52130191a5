"""How a network is made smaller: channels taken away, int8, a teacher."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from perception_training.config.base import Settings


class TuneConfig(Settings):
    """Training of the changed network; all else is as `fit` says."""

    steps: int = Field(1000, ge=1, description='optimiser steps')
    max_minutes: float | None = Field(
        None, gt=0, description='the schedule also ends after this many minutes')
    lr: float = Field(5e-4, gt=0, description='peak learning rate of all layers')
    warmup: int = Field(50, ge=0, description='steps of linear rise')


class PruneConfig(Settings):
    """Settings of `prune`."""

    share: float = Field(0.5, gt=0, lt=1, description='of the channels that are taken away')
    scope: Literal['uniform', 'global'] = Field(
        'uniform', description='uniform: this share of each layer; global: wherever they matter '
        'least, but never more than nine tenths of a layer')
    importance: Literal['magnitude', 'norm', 'taylor'] = Field(
        'magnitude', description='what channels are ranked by, over all layers that share them: '
        'their weights, the scales of their batch normalisation, or weights times gradients')
    batches: int = Field(16, ge=1, description='whose gradients taylor sums up')
    multiple: int = Field(1, ge=1, description='up to which numbers of channels are rounded, such '
                          'as 8 for an engine that computes eight at a time')
    tune: TuneConfig = TuneConfig()


class QuantiseConfig(Settings):
    """Settings of `quantise`."""

    images: int = Field(64, ge=1, description='of the training sets, which ranges are taken from')
    learn_ranges: bool = Field(
        True, description='whether ranges of activations are learnt with the weights')
    tune: TuneConfig = TuneConfig(lr=2e-4)


class DistilConfig(Settings):
    """What a teacher adds to the loss, for each head that both have."""

    teacher: Literal['start'] | Path = Field(
        description='a checkpoint, a folder with a bundle, or start: the network itself as this '
        'run begins, so that it does not forget')
    semantic: float = Field(
        1.0, ge=0, description='weight of the difference of label maps, over all pixels')
    boxes: float = Field(1.0, ge=0, description='weight of the difference of boxes and scores')
    temperature: float = Field(
        2.0, gt=0, description='by which logits of label maps are divided; above 1 the classes '
        'that come second count more')
    score: float = Field(
        0.4, gt=0, lt=1, description="from which on a bundle's boxes are true; below, they are "
        'regions that may hold something')
