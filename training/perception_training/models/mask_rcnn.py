"""Mask R-CNN on a ResNet with a feature pyramid, of torchvision's layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.error import URLError

import torch
from torch import nn, Tensor
from torchvision.models import get_model
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import MaskRcnnConfig
from perception_training.errors import CheckpointError, TrainingError
from perception_training.models.base import BOXES, Network
from perception_training.models.composed import Composed, Features, Head, Normalised, Trunk
from perception_training.models.heads import SceneHead
from perception_training.models.two_stage import STRIDES, TwoStageHead

_PARTS = {'backbone.': 'trunk.backbone.', 'rpn.head.': f'heads.{BOXES}.rpn.',
          'roi_heads.': f'heads.{BOXES}.'}
_BY_CLASS = ('box_predictor.cls_score', 'box_predictor.bbox_pred',
             'mask_predictor.mask_fcn_logits')


def build(config: MaskRcnnConfig, labels: LabelsConfig, root: Path | None) -> Network:
    """
    Give the network with a head for everything that has labels.

    :raises TrainingError: there are no boxes to find, or weights cannot be downloaded.
    """
    if not labels.boxes:
        raise TrainingError("model 'mask_rcnn' finds boxes with masks; expected labels.boxes, got "
                            'none')
    loads = config.weights if root is not None else None
    try:
        body = get_model(config.backbone, norm_layer=nn.BatchNorm2d,
                         weights='IMAGENET1K_V1' if loads == 'imagenet' else None)
        state = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.get_state_dict(
            progress=False, check_hash=True) if loads == 'coco' else {}
    except URLError as error:
        raise TrainingError(
            f'model.weights {loads!r}: cannot be downloaded ({error.reason}); put the file into '
            f'{torch.hub.get_dir()}/checkpoints, or set model.weights=null') from error
    if config.weights is not None:
        _hold_still(body, config)
    backbone = BackboneWithFPN(
        body, {f'layer{i + 1}': str(i) for i in range(4)},
        [body.inplanes // 8 * 2 ** i for i in range(4)], config.channels)
    trunk = PyramidTrunk(backbone)
    heads: dict[str, Head] = {
        BOXES: TwoStageHead(backbone.out_channels, labels.boxes, config)}
    for name, classes in labels.semantic.items():
        heads[name] = SceneHead(name, trunk.channels, classes)
    network = Composed(trunk, heads, config.dropout)
    if loads == 'imagenet':
        network.pretrained = ('trunk.backbone.body.',)
    if state:
        take_from_torchvision(
            network, state, MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories'])
    return network


class PyramidTrunk(Trunk):
    """Features at strides 4 to 64, as many channels at each."""

    def __init__(self, backbone: BackboneWithFPN) -> None:
        super().__init__()
        self.channels = dict.fromkeys(STRIDES, backbone.out_channels)
        self.normalised = Normalised()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Features:
        maps = self.backbone(self.normalised(images)).values()
        return dict(zip(STRIDES, maps, strict=True))


def take_from_torchvision(network: Network, state: Mapping[str, Tensor],
                          categories: Sequence[str]) -> None:
    """
    Start from the weights of one of torchvision's Mask R-CNNs.

    Rows of classes of the same name are taken over; those of others stay random.

    :param categories: its class names, the background first.
    :raises CheckpointError: a layer has another shape.
    """
    classes = network.tasks[BOXES].classes
    pairs = [(0, 0)] + [(row, categories.index(name)) for row, name in enumerate(classes, 1)
                        if name in categories]
    ours, theirs = (list(rows) for rows in zip(*pairs, strict=True))
    own = network.state_dict()
    taken = []
    for name, tensor in state.items():
        part = next(prefix for prefix in _PARTS if name.startswith(prefix))
        target = name.replace(part, _PARTS[part], 1)
        if any(layer in name for layer in _BY_CLASS):
            # A class has one row, or four of a box.
            rows = own[target].unflatten(0, (len(classes) + 1, -1)).clone()
            rows[ours] = tensor.unflatten(0, (len(categories), -1))[theirs]
            tensor = rows.flatten(0, 1)
        if tensor.shape != own[target].shape:
            raise CheckpointError(f'{name}: expected {tuple(own[target].shape)}, got '
                                  f'{tuple(tensor.shape)}; is model.backbone another one?')
        own[target] = tensor
        taken.append(target)
    network.load_state_dict(own)
    network.pretrained = tuple(taken)


def _hold_still(body: nn.Module, config: MaskRcnnConfig) -> None:
    """Train the last layers alone, and no statistics: batches are too small for new ones."""
    learnt = ('layer4', 'layer3', 'layer2', 'layer1', 'conv1')[:config.trainable_layers]
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(name.startswith(learnt))
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
            if config.weights == 'coco':
                module.eps = 0.0  # as these weights were learnt
