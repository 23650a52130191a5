"""Networks behind one contract, and the registry that builds them by name."""

from perception_training.models.base import BOXES, BoxTask, Network, SemanticTask
from perception_training.models.registry import build, MODELS

__all__ = ['BOXES', 'MODELS', 'BoxTask', 'Network', 'SemanticTask', 'build']
