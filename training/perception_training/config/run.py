"""A whole run, as one YAML file says it."""

from pathlib import Path

from pydantic import Field, model_validator
from typing_extensions import Self

from perception_training.config.base import Settings
from perception_training.config.bundle import BundleConfig
from perception_training.config.compress import DistilConfig, PruneConfig, QuantiseConfig
from perception_training.config.data import AugmentConfig, DataConfig
from perception_training.config.fit import FitConfig
from perception_training.config.labels import LabelsConfig
from perception_training.config.loss import LossConfig
from perception_training.config.model import ModelConfig


class Config(Settings):
    """A whole run."""

    run_dir: Path = Field(description='checkpoints, records and metrics go here')
    seed: int = Field(0, ge=0)
    width: int = Field(640, multiple_of=32, description='network input at test time, px')
    height: int = Field(384, multiple_of=32, description='network input at test time, px')
    labels: LabelsConfig
    model: ModelConfig
    data: DataConfig
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    fit: FitConfig
    distil: DistilConfig | None = Field(None, description='a teacher that fitting listens to')
    prune: PruneConfig = PruneConfig()
    quantise: QuantiseConfig = QuantiseConfig()
    bundle: BundleConfig = BundleConfig()

    @property
    def cache_dir(self) -> Path:
        """Where decoded images are kept."""
        return self.data.cache or self.run_dir / 'cache'

    @model_validator(mode='after')
    def _heads_are_known(self) -> Self:
        if not self.labels.boxes and not self.labels.semantic:
            raise ValueError('labels: expected boxes, semantic or both, got neither')
        for key, heads, known in (
            ('loss.semantic', self.loss.semantic, set(self.labels.semantic)),
            ('loss.heads', self.loss.heads, {'boxes', *self.labels.semantic}),
        ):
            if unknown := sorted(set(heads) - known):
                raise ValueError(f'{key}: expected some of {sorted(known)}, got {unknown}')
        for head, loss in self.loss.semantic.items():
            names = self.labels.semantic[head]
            if loss.class_weights and len(loss.class_weights) != len(names):
                raise ValueError(f'loss.semantic.{head}.class_weights: expected one for each of '
                                 f'{len(names)} classes, got {len(loss.class_weights)}')
            if unknown := sorted(set(loss.none_of) - set(names)):
                raise ValueError(f'loss.semantic.{head}.none_of: expected some of {names}, got '
                                 f'{unknown}')
        return self
