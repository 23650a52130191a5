"""Networks by name. To add one: its settings in `config.model`, a module and a line here."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import torch

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import ModelConfig
from perception_training.errors import TrainingError
from perception_training.models.base import Network
from perception_training.models.initialise import initialise

MODELS: Mapping[str, str] = {
    'deeplabv3plus': 'perception_training.models.smp',
    'dfine': 'perception_training.models.queries',
    'mask_rcnn': 'perception_training.models.mask_rcnn',
    'roadscene': 'perception_training.models.roadscene',
    'roadseg': 'perception_training.models.roadseg',
    'rtdetrv2': 'perception_training.models.queries',
    'segformer': 'perception_training.models.segformer',
    'unet': 'perception_training.models.smp',
    'yolo': 'perception_training.models.yolo',
}
"""Name -> module whose `build(config, labels, root)` gives the network."""


def build(config: ModelConfig, labels: LabelsConfig, root: Path | None = None,
          seed: int = 0) -> Network:
    """
    Give a network with heads for these labels.

    :param root: where foreign weights lie that it may start from; None: start from random ones,
        as for a network that a checkpoint fills.
    :raises TrainingError: a library that it needs is missing, or it has no head for the labels.
    """
    try:
        module = import_module(MODELS[config.name])
    except ModuleNotFoundError as error:
        raise TrainingError(f'model {config.name!r} needs {error.name}; make train-setup') \
            from error
    torch.manual_seed(seed)
    network: Network = module.build(config, labels, root)
    initialise(network, config.init)
    return network
