"""How good a model is: labelled data, and its answers measured against them."""

from perception_ros.evaluation.accuracy import Accuracy, evaluate
from perception_ros.evaluation.datasets import Dataset, open_dataset

__all__ = ['Accuracy', 'Dataset', 'evaluate', 'open_dataset']
