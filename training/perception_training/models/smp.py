"""U-Net and DeepLabV3+ of segmentation-models-pytorch, with any number of semantic heads."""

from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
from torch import Tensor

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import DeepLabConfig, UnetConfig
from perception_training.errors import TrainingError
from perception_training.models.base import Network
from perception_training.models.composed import Composed, Features, Normalised, Trunk
from perception_training.models.heads import PlainHead


def build(config: UnetConfig | DeepLabConfig, labels: LabelsConfig, root: Path | None) -> Network:
    """
    Give the network; its encoder's weights come from the library where `weights` asks for them.

    :raises TrainingError: the labels have boxes, or the library has no such encoder.
    """
    if labels.boxes:
        raise TrainingError(f'model {config.name!r} has no head for boxes; expected labels.boxes '
                            f'to be empty, got {list(labels.boxes)}')
    weights = config.weights if root is not None else None
    try:
        if isinstance(config, UnetConfig):
            whole = smp.Unet(config.encoder, encoder_weights=weights)
            trunk = EncoderDecoder(whole, 1, whole.segmentation_head[0].in_channels)
        else:
            whole = smp.DeepLabV3Plus(config.encoder, encoder_weights=weights,
                                      encoder_output_stride=config.output_stride)
            trunk = EncoderDecoder(whole, 4, whole.segmentation_head[0].in_channels)
    except (KeyError, ValueError) as error:
        raise TrainingError(f'model.encoder {config.encoder!r}: {error}') from error
    kernel = 3 if isinstance(config, UnetConfig) else 1
    heads = {name: PlainHead(name, trunk.channels, classes, kernel)
             for name, classes in labels.semantic.items()}
    network = Composed(trunk, heads, config.dropout)
    if weights is not None:
        network.pretrained = ('trunk.encoder.',)
    return network


class EncoderDecoder(Trunk):
    """What the library puts before its own head."""

    def __init__(self, whole: Any, stride: int, channels: int) -> None:
        super().__init__()
        self.channels = {stride: channels}
        self._stride = stride
        self.normalised = Normalised()
        self.encoder, self.decoder = whole.encoder, whole.decoder

    def forward(self, images: Tensor) -> Features:
        return {self._stride: self.decoder(self.encoder(self.normalised(images)))}
