"""What a wrong answer costs."""

from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from perception_training.config.base import Settings
from perception_training.config.labels import HeadName


class DetectionLossConfig(Settings):
    """Weights of the terms, and the assignment of true boxes to anchors (TOOD)."""

    box: float = Field(7.5, ge=0, description='complete IoU')
    classes: float = Field(0.5, ge=0, description='binary cross-entropy of class scores')
    distances: float = Field(1.5, ge=0, description='distribution focal loss')
    objectness: float = Field(1.0, ge=0, description='of heads that have it')
    masks: float = Field(5.0, ge=0, description='cross-entropy of masks that prototypes make')
    proposal_objectness: float = Field(1.0, ge=0, description='of the first of two stages')
    proposal_box: float = Field(1.0, ge=0, description='smooth L1, of the first of two stages')
    region_classes: float = Field(1.0, ge=0, description='cross-entropy, of the second stage')
    region_box: float = Field(1.0, ge=0, description='smooth L1, of the second stage')
    region_masks: float = Field(1.0, ge=0, description='cross-entropy, of the second stage')
    varifocal: float = Field(1.0, ge=0, description='class scores of queries')
    l1: float = Field(5.0, ge=0, description='centre and size of boxes of queries')
    giou: float = Field(2.0, ge=0, description='generalised IoU of boxes of queries')
    fine_grained: float = Field(0.15, ge=0, description="D-FINE's distributions of sides")
    self_distillation: float = Field(
        1.5, ge=0, description="D-FINE's last distributions as teachers of the earlier ones")
    topk: int = Field(10, ge=1, description='anchors that a box may claim')
    alpha: float = Field(0.5, ge=0, description='exponent of the score in the alignment')
    beta: float = Field(6.0, ge=0, description='exponent of the IoU in the alignment')


class SemanticLossConfig(Settings):
    """Weights of the terms over labelled pixels."""

    cross_entropy: float = Field(1.0, ge=0)
    dice: float = Field(0.0, ge=0)
    focal: float = Field(0.0, ge=0, description='with gamma 2')
    lovasz: float = Field(0.0, ge=0, description='Lovász-Softmax over classes that are present')
    class_weights: tuple[float, ...] = Field(
        (), description='of cross_entropy, one a class; none: all equal')
    none_of: tuple[str, ...] = Field(
        (), description='of cross_entropy: classes that pixels with id 254 are known not to be')

    @model_validator(mode='after')
    def _every_setting_has_an_effect(self) -> Self:
        if not (self.cross_entropy or self.dice or self.focal or self.lovasz):
            raise ValueError('expected a weight above 0 of cross_entropy, dice, focal or lovasz')
        for name in ('class_weights', 'none_of'):
            if getattr(self, name) and not self.cross_entropy:
                raise ValueError(f'{name}: expected cross_entropy above 0, of which it is a part')
        return self


class LossConfig(Settings):
    """Losses by kind of head, and the balance between heads."""

    detection: DetectionLossConfig = DetectionLossConfig()
    semantic: dict[HeadName, SemanticLossConfig] = Field(
        default_factory=dict, description='head -> its loss; others have the default')
    heads: dict[str, float] = Field(
        default_factory=dict, description='head (boxes, or a semantic one) -> weight; others 1')
    balance: Literal['fixed', 'uncertainty'] = Field(
        'fixed', description='uncertainty: weights of heads are learnt (Kendall et al. 2018)')
