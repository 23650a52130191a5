"""The errors that training raises on purpose; they belong to the tree of the runtime."""

from perception_ros.core.errors import PerceptionError


class TrainingError(PerceptionError):
    """A run cannot go on: the message says what was expected, what came, and how to mend it."""


class DataError(TrainingError):
    """Images or labels are missing, damaged, or do not fit the class lists."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be read, written, or belongs to another model."""
