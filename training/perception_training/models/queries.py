"""
RT-DETRv2 and D-FINE of transformers: a trunk, and a head whose queries find one object each.

The trunk is backbone and hybrid encoder; all that follows is the head. The decoder runs when
losses or answers are asked for, because in training it also denoises true boxes.
"""

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn, Tensor
import transformers
from transformers.modeling_outputs import BaseModelOutput

from perception_training.config.labels import LabelsConfig
from perception_training.config.loss import LossConfig
from perception_training.config.model import DFineConfig, RtDetrV2Config
from perception_training.data.sample import Batch
from perception_training.errors import TrainingError
from perception_training.losses.queries import (
    DFineCriterion,
    query_losses,
    RtDetrCriterion,
    Target,
    targets_of,
)
from perception_training.models.base import BOXES, BoxTask, Network, Raw, SCORES
from perception_training.models.composed import Composed, Features, Head, Trunk
from perception_training.models.heads import PlainHead
from perception_training.models.query_sizes import settings_of
from perception_training.models.transformers_weights import take_weights

# The library's checks of shapes become assertions in an export, which ONNX does not have.
os.environ.setdefault('TRANSFORMERS_DISABLE_TORCH_CHECK', '1')
CLASS_LAYERS = ('class_embed.', 'enc_score_head.')


def build(config: RtDetrV2Config | DFineConfig, labels: LabelsConfig,
          root: Path | None) -> Network:
    """
    Give the network with a head for everything that has labels.

    :raises TrainingError: the library refuses a setting.
    :raises CheckpointError: the weights are not there, or of another size.
    """
    settings = settings_of(config, labels.boxes)
    kind = transformers.DFineForObjectDetection if isinstance(config, DFineConfig) \
        else transformers.RTDetrV2ForObjectDetection
    try:
        whole = kind(settings)
    except ValueError as error:
        raise TrainingError(f'model.library: {" ".join(str(error).split())}') from error
    for layer in whole.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # RT-DETRv2 starts them at nearly nothing, and so would be the signal behind each.
            nn.init.ones_(layer.weight)
    started = config.weights is not None and root is not None
    if started:
        take_weights(whole, config.weights, class_layers=CLASS_LAYERS, classes=labels.boxes)
    if isinstance(config, DFineConfig):
        _hold_still(whole)
    trunk = HybridTrunk(whole.model)
    heads: dict[str, Head] = {}
    if labels.boxes:
        heads[BOXES] = QueryHead(whole.model, labels.boxes)
    for name, classes in labels.semantic.items():
        heads[name] = PlainHead(name, trunk.channels, classes, 3)
    network = Composed(trunk, heads, config.dropout)
    if started:
        network.pretrained = ('trunk.', f'heads.{BOXES}.')
    return network


def _hold_still(whole: transformers.DFineForObjectDetection) -> None:
    """Turn what never learns into buffers, for as parameters they would once all is thawed."""
    decoder = whole.model.decoder
    for name in ('up', 'reg_scale'):
        value = getattr(decoder, name).data
        delattr(decoder, name)
        decoder.register_buffer(name, value)
        # The loss reads it from the settings, which a checkpoint may know better.
        setattr(whole.config, name, value.item())


class HybridTrunk(Trunk):
    """Backbone and hybrid encoder: features of equal width at strides 8 to 32, or 16 and 32."""

    def __init__(self, model: transformers.PreTrainedModel) -> None:
        super().__init__()
        self.channels = dict.fromkeys(
            model.config.feat_strides, model.config.encoder_hidden_dim)
        self.backbone, self.encoder = model.backbone.model, model.encoder
        self.projections = model.encoder_input_proj

    def forward(self, images: Tensor) -> Features:
        stages = self.backbone(images).feature_maps
        levels = [project(x) for project, x in zip(self.projections, stages, strict=True)]
        return dict(zip(self.channels, self.encoder(levels).last_hidden_state, strict=True))


class QueryHead(Head):
    """
    Proposals from the features, and a decoder that refines them, in float32.

    Its raw answers are the features.
    """

    task: BoxTask

    def __init__(self, model: transformers.PreTrainedModel, classes: tuple[str, ...]) -> None:
        super().__init__()
        self.task = BoxTask(classes, suppressed=False, sorts=True)
        # With features given, the library's model runs what follows them alone.
        del model.backbone, model.encoder_input_proj, model.encoder
        self.model = model

    def forward(self, features: Features) -> Raw:
        return {str(stride): x.float() for stride, x in features.items()}

    def losses(self, raw: Any, batch: Batch, config: LossConfig) -> dict[str, Tensor]:
        targets = targets_of(batch)
        found = self._decoded(raw, targets)
        noisy = found.denoising_meta_values
        first = noisy['dn_num_split'][0] if noisy else 0
        *layers, last = _layers(found, slice(first, None))
        proposals = {'logits': found.enc_topk_logits, 'pred_boxes': found.enc_topk_bboxes}
        outputs = {**last, 'auxiliary_outputs': [*layers, proposals]}
        if noisy:
            outputs |= {'dn_auxiliary_outputs': _layers(found, slice(first)),
                        'denoising_meta_values': noisy}
        settings = self.model.config
        kind = DFineCriterion if isinstance(settings, transformers.DFineConfig) \
            else RtDetrCriterion
        terms = query_losses(kind(settings).to(last['logits'].device), outputs, targets)
        if settings.num_denoising:
            # Without boxes nothing is denoised, but every weight must have a gradient.
            idle = self.model.denoising_class_embed.weight.sum() * 0
            terms['varifocal'] = terms['varifocal'] + idle
        return terms

    def answers(self, raw: Any) -> dict[str, Tensor]:
        found = self._decoded(raw, None)
        stride, finest = next(iter(raw.items()))
        size = finest.new_tensor([n * int(stride) for n in finest.shape[:1:-1]])
        middle, sides = found.intermediate_reference_points[:, -1].split(2, -1)
        boxes = torch.cat(((middle - sides / 2) * size, (middle + sides / 2) * size), -1)
        return {BOXES: boxes, SCORES: found.intermediate_logits[:, -1].sigmoid()}

    def _decoded(self, raw: Any, targets: list[Target] | None) -> Any:
        levels = list(raw.values())
        cells, most = sum(x[0, 0].numel() for x in levels), self.model.config.num_queries
        if most > cells:
            raise TrainingError(f'model.queries: expected at most {cells}, the cells of an image '
                                f'of this size, got {most}')
        return self.model(None, inputs_embeds=levels[0], labels=targets,
                          encoder_outputs=BaseModelOutput(last_hidden_state=levels))


def _layers(found: Any, queries: slice) -> list[dict[str, Tensor]]:
    """Give what each decoder layer says, as the criterion names it, the last one last."""
    boxes = found.intermediate_reference_points[:, :, queries].clamp(0, 1).unbind(1)
    logits = found.intermediate_logits[:, :, queries].unbind(1)
    layers = [{'logits': each, 'pred_boxes': box}
              for each, box in zip(logits, boxes, strict=True)]
    if found.intermediate_predicted_corners is None:
        return layers
    corners = found.intermediate_predicted_corners[:, :, queries].unbind(1)
    starts = found.initial_reference_points[:, :, queries].unbind(1)
    # Before D-FINE's first layer stands the guess that it refines, which has no distributions.
    for layer, each, start in zip(layers[1:], corners, starts, strict=True):
        layer |= {'pred_corners': each, 'ref_points': start,
                  'teacher_corners': corners[-1].detach(), 'teacher_logits': logits[-1].detach()}
    return layers
