"""SegFormer of transformers, with any number of semantic heads."""

from pathlib import Path

from torch import nn, Tensor
import transformers

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import SegformerConfig
from perception_training.errors import TrainingError
from perception_training.models.base import Network
from perception_training.models.composed import Composed, Features, Normalised, Trunk
from perception_training.models.heads import PlainHead
from perception_training.models.transformers_weights import configured, take_weights

# Channels of the four stages, blocks of each, and channels of the decoder (Xie et al. 2021).
_NARROW, _WIDE = (32, 64, 160, 256), (64, 128, 320, 512)
SIZES = {
    'b0': (_NARROW, (2, 2, 2, 2), 256), 'b1': (_WIDE, (2, 2, 2, 2), 256),
    'b2': (_WIDE, (3, 4, 6, 3), 768), 'b3': (_WIDE, (3, 4, 18, 3), 768),
    'b4': (_WIDE, (3, 8, 27, 3), 768), 'b5': (_WIDE, (3, 6, 40, 3), 768)}


def build(config: SegformerConfig, labels: LabelsConfig, root: Path | None) -> Network:
    """
    Give the network; encoder and decoder start from `weights` where it names a checkpoint.

    :raises TrainingError: the labels have boxes, or the library refuses a setting.
    :raises CheckpointError: the weights are not there, or of another size.
    """
    if labels.boxes:
        raise TrainingError(f'model {config.name!r} has no head for boxes; expected labels.boxes '
                            f'to be empty, got {list(labels.boxes)}')
    channels, depths, width = SIZES[config.size]
    settings = configured(transformers.SegformerConfig, {
        'hidden_sizes': channels, 'depths': depths, 'decoder_hidden_size': width,
        # Ours is before all heads.
        'classifier_dropout_prob': 0.0, **config.library})
    whole = transformers.SegformerForSemanticSegmentation(settings)
    started = config.weights is not None and root is not None
    if started:
        kept = take_weights(whole, config.weights, new=('decode_head.',),
                            class_layers=('decode_head.classifier.',))
    trunk = SegformerTrunk(whole)
    network = Composed(trunk, {
        name: PlainHead(name, trunk.channels, classes, 1)
        for name, classes in labels.semantic.items()}, config.dropout)
    if started:
        # A checkpoint of ImageNet's classes has the encoder alone.
        whole_trunk = not any('linear_fuse' in name for name in kept)
        network.pretrained = ('trunk.',) if whole_trunk else ('trunk.encoder.',)
    return network


class SegformerTrunk(Trunk):
    """Encoder and decoder up to the layer that names classes: features at stride 4."""

    def __init__(self, whole: transformers.SegformerForSemanticSegmentation) -> None:
        super().__init__()
        self.channels = {4: whole.config.decoder_hidden_size}
        self.normalised = Normalised()
        self.encoder, self.decoder = whole.segformer, whole.decode_head
        self.decoder.classifier = nn.Identity()

    def forward(self, images: Tensor) -> Features:
        stages = self.encoder(self.normalised(images), output_hidden_states=True).hidden_states
        features: Tensor = self.decoder(stages)
        return {4: features}
