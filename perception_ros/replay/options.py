"""What a user asks of a replay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ConfigError, ReplayError
from perception_ros.faults.plan import FaultPlan
from perception_ros.replay.parts import PART_MESSAGES


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is replayed, and where to."""

    bag: Path
    output: Path
    config: PerceptionConfig
    start_s: float | None = None
    """Seconds after the first message of the bag,"""
    end_s: float | None = None
    """and those before which it ends; None: all."""
    cameras: tuple[str, ...] = ()
    """Of the configuration; all if empty."""
    has_results: bool = True
    """Whether detections, masks and overlays are written as messages."""
    faults: FaultPlan | None = None
    """What goes wrong on purpose."""
    resume: bool = False
    overwrite: bool = False
    part_messages: int = PART_MESSAGES
    """Images that a part takes."""

    def __post_init__(self) -> None:
        """Raise ReplayError for what cannot be replayed."""
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ReplayError(
                f'expected an end after the start of {self.start_s or 0:g} s, got {self.end_s:g} s'
            )
        if self.output.resolve() in (self.bag.resolve(), *self.bag.resolve().parents):
            raise ReplayError(
                f'the bag {self.bag} lies in the output {self.output}, which --overwrite would '
                'remove: name another place'
            )
        if self.config.synchronizer.policy == 'message_filters':
            raise ConfigError(
                'synchronizer.policy message_filters needs a ROS distribution, and follows the '
                "machine's clock: replay with deadline, approximate or exact"
            )
