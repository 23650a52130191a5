"""Networks behind one contract, and the registry that builds them by name."""

from perception_training.models.base import (
    BOXES,
    BoxTask,
    MASKS,
    Network,
    PROTOTYPES,
    SCORES,
    SemanticTask,
)
from perception_training.models.registry import build, MODELS

__all__ = [
    'BOXES', 'MASKS', 'MODELS', 'PROTOTYPES', 'SCORES', 'BoxTask', 'Network', 'SemanticTask',
    'build',
]
