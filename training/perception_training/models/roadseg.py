"""`roadseg`: label maps in real time, from YOLOX-nano's backbone alone."""

from pathlib import Path

from torch import Tensor

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import RoadSegConfig
from perception_training.errors import TrainingError
from perception_training.models.base import Network
from perception_training.models.composed import Composed, Features, Trunk
from perception_training.models.heads import SceneHead
from perception_training.models.nano import NanoTrunk
from perception_training.models.yolox_weights import load_yolox_nano


def build(config: RoadSegConfig, labels: LabelsConfig, root: Path | None) -> Network:
    """
    Give the network with a semantic head for each label map.

    :raises TrainingError: the labels have boxes.
    :raises CheckpointError: the weights that it shall start from do not fit.
    """
    if labels.boxes:
        raise TrainingError(f'model {config.name!r} has no head for boxes; expected labels.boxes '
                            f'to be empty, got {list(labels.boxes)}; roadscene has both')
    whole = NanoTrunk()
    started = config.start is not None and root is not None
    if config.start is not None and root is not None:
        load_yolox_nano(whole, None, root / config.start)
    trunk = BackboneTrunk(whole)
    network = Composed(trunk, {
        name: SceneHead(name, trunk.channels, classes)
        for name, classes in labels.semantic.items()}, config.dropout)
    if started:
        network.pretrained = ('trunk.',)
    return network


class BackboneTrunk(Trunk):
    """
    The backbone without the neck.

    Its coarsest features hold the pooling pyramid's context, and the head adds all levels up, so
    that the way down and up again through the neck is saved.
    """

    def __init__(self, whole: NanoTrunk) -> None:
        super().__init__()
        self.channels = whole.channels
        self.backbone = whole.backbone

    def forward(self, images: Tensor) -> Features:
        return dict(zip(self.channels, self.backbone(images), strict=True))
