"""The reports of `bench pipeline`, `transport`, `ingest`, `overload`, `soak` and `fusion-live`."""

from __future__ import annotations

from collections.abc import Mapping
import os
from typing import Literal

from pydantic import Field

from perception_ros.benchmarks.live.figures import Ratio, SideRow, Turn
from perception_ros.benchmarks.live.settings import Serving, Stream, Timing, Vehicle
from perception_ros.benchmarks.report import Report, Strict
from perception_ros.benchmarks.rounds import Side
from perception_ros.benchmarks.statistics import Spread


class LiveReport(Report):
    """What all of them say."""

    middleware: str = Field(description='ROS distribution and RMW, as the environment names them')
    stream: Stream
    timing: Timing
    rows: tuple[SideRow, ...]
    ratios: tuple[Ratio, ...]

    def row(self, side: str) -> SideRow:
        """Return the row of a side."""
        return next(row for row in self.rows if row.side == side)


class RateTry(Strict):
    """One rate that was tried, for one turn of the node."""

    rate_hz: float
    is_bounded: bool = Field(description='Within the limit, and nothing to speak of was lost')
    why: str = Field(description='What was measured')


class PipelineReport(LiveReport):
    """The node at a given rate, beside plain nodes and the bare engine."""

    benchmark: Literal['pipeline'] = 'pipeline'
    serving: Serving
    p99_limit_ms: float | None = Field(
        default=None, description='For the search of the highest rate; null: none was searched'
    )
    tries: tuple[RateTry, ...] = Field(
        default=(), description='Of the search, in order; `stream.rate_hz` is the highest bounded'
    )


class TransportReport(LiveReport):
    """What a message costs its subscriber, and how long it is under way."""

    benchmark: Literal['transport'] = 'transport'


class IngestReport(LiveReport):
    """What an image costs from DDS to the letterboxed slot of the batch.

    A plain node stops there. Ours goes on, through a fake engine that costs next to nothing, and
    publishes a box for each image: all of that is in its figure. `copies_ms` is the CPU time of
    two copies of an image in memory.
    """

    benchmark: Literal['ingest'] = 'ingest'
    serving: Serving
    copies_ms: Spread = Field(description='CPU time of two copies of the pixels of an image')
    over_copies: dict[str, Spread] = Field(
        description='By side: CPU time for a frame over that of two copies, round by round'
    )


class OverloadFigures(Strict):
    """What an overload is judged by; each of a round."""

    p99_ratio: Spread | None = Field(
        description='p99 under overload over (twice the unloaded p99 + one engine call)'
    )
    unfairness_percent: Spread | None = Field(
        description='The largest distance of a camera from the mean of all cameras of its '
        'priority, in results'
    )
    priority_lost_percent: Spread | None = Field(
        description='Frames of the cameras that go first that got no result'
    )
    memory_growth_mb: Spread | None = Field(description='Over the window, under overload')


class OverloadReport(LiveReport):
    """The node with more images than the engine can take."""

    benchmark: Literal['overload'] = 'overload'
    serving: Serving
    times: float = Field(description='Images offered over images that the engine can take')
    first: tuple[str, ...] = Field(description='Cameras that go first in the last row')
    figures: OverloadFigures


class Sample(Strict):
    """The node at a moment."""

    at_s: float = Field(description='Since the window began')
    memory_bytes: int = Field(description='Resident')
    threads: int
    open_files: int


class SoakReport(LiveReport):
    """The node for a long time, with cameras that come and go."""

    benchmark: Literal['soak'] = 'soak'
    serving: Serving
    deadline_ms: float
    late: int = Field(description='Results that came later than that after their stamp')
    late_percent: float
    absences: int = Field(description='How often a camera was gone')
    samples: tuple[Sample, ...]
    settled_s: float = Field(description='Samples from then on make the slope')
    memory_slope_mb_per_h: float | None = Field(
        description='Theil-Sen, of resident memory once it has settled; null: too few samples'
    )


class FusionLiveReport(LiveReport):
    """The fusion node in the time of the world: which sweeps come out, and when."""

    benchmark: Literal['fusion_live'] = 'fusion_live'
    stream: Vehicle
    sweeps: int = Field(description='That were sent within all windows')
    lost: int = Field(description='Of these, those that did not come out as objects and points')


def side_rows(sides: Mapping[str, Side[Turn]]) -> tuple[SideRow, ...]:
    """Return a row for each side."""
    return tuple(SideRow.of(name, side) for name, side in sides.items())


def side_ratios(
    sides: Mapping[str, Side[Turn]], pairs: list[tuple[str, str, str]]
) -> tuple[Ratio, ...]:
    """Return the ratios of (figure, side, other side) that can be had."""
    found = (
        Ratio.of(figure, (above, sides[above].turns), (below, sides[below].turns))
        for figure, above, below in pairs if above in sides and below in sides
    )
    return tuple(ratio for ratio in found if ratio)


def middleware() -> str:
    """Say which ROS this is, as far as the environment knows."""
    distribution = os.environ.get('ROS_DISTRO', 'wheels')
    return f'{distribution}, {os.environ.get("RMW_IMPLEMENTATION", "default RMW")}'
