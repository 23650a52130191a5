"""The one declaration of a training run."""

from perception_training.config.load import load, printed
from perception_training.config.run import Config

__all__ = ['Config', 'load', 'printed']
