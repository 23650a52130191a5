"""`roadscene`: boxes and label maps from one trunk of YOLOX-nano's size."""

from pathlib import Path

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import RoadSceneConfig
from perception_training.models.base import BOXES, Network
from perception_training.models.composed import Composed, Head
from perception_training.models.heads import ObjectnessHead, SceneHead
from perception_training.models.nano import NanoTrunk
from perception_training.models.yolox_weights import load_yolox_nano


def build(config: RoadSceneConfig, labels: LabelsConfig, root: Path | None) -> Network:
    """
    Give the network with a head for everything that has labels.

    :raises CheckpointError: the weights that it shall start from do not fit.
    """
    trunk = NanoTrunk()
    heads: dict[str, Head] = {}
    boxes = ObjectnessHead(trunk.channels, labels.boxes) if labels.boxes else None
    if boxes is not None:
        heads[BOXES] = boxes
    for name, classes in labels.semantic.items():
        heads[name] = SceneHead(name, trunk.channels, classes)
    network = Composed(trunk, heads, config.dropout)
    if config.start is not None and root is not None:
        load_yolox_nano(trunk, boxes, root / config.start)
        network.pretrained = ('trunk.', f'heads.{BOXES}.')
    return network
