"""The figures of one side's turn, and what the turns of a side say together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field
from typing_extensions import Self

from perception_ros.benchmarks.report import Strict
from perception_ros.benchmarks.rounds import Side
from perception_ros.benchmarks.statistics import ratios, Spread


class Delays(Strict):
    """Durations in ms."""

    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, samples_ms: ArrayLike) -> Self | None:
        """Return the percentiles of durations; None of none."""
        samples = np.asarray(samples_ms, np.float64)
        if not samples.size:
            return None
        p50, p95, p99 = np.percentile(samples, (50, 95, 99), method='higher')
        return cls(p50=p50, p95=p95, p99=p99, max=samples.max())


class Sent(Strict):
    """What the senders say they sent within the window."""

    frames: int
    by_camera: dict[str, int]
    rate_hz: float = Field(description='That was kept, of each camera')
    asked_hz: float = Field(description='That was to be kept')
    skipped_ticks: int = Field(description='At which nothing was sent: a period late or more')
    lateness_ms: Delays | None = Field(
        description='How long after it was due a tick began; null: there was none'
    )
    cpu_cores: float = Field(description='Of all senders together')


class Heard(Strict):
    """What an observer in a process of its own says of the results, or of the images."""

    within: int = Field(description='That arrived within the window')
    per_s: float
    by_camera: dict[str, int] = Field(description='Of frames that were sent within the window')
    lost: int = Field(description='Frames that were sent within the window and never heard of')
    late: int | None = Field(description='Results after the deadline; null: there is none')
    delay_ms: Delays | None = Field(description='Stamp to receipt; null: nothing was heard')


class Used(Strict):
    """What the processes of the side used within the window, all of them together."""

    cpu_cores: float
    cpu_ms_per_frame: float | None = Field(
        description='For each frame that reached them; null: none did'
    )
    peak_memory_bytes: int = Field(description='Resident, since they began')
    memory_growth_bytes: int = Field(description='Resident, from begin to end of the window')
    threads: tuple[int, int] = Field(description='At begin and end of the window')
    open_files: tuple[int, int] = Field(description='Descriptors at begin and end of the window')


class Turn(Strict):
    """One side's turn."""

    sent: Sent
    received: int | None = Field(
        description='Frames that reached the side in the whole turn, warm-up and all; null: '
        'unknown'
    )
    heard: Heard | None = Field(description='null: the side publishes nothing')
    images_per_s: float | None = Field(default=None, description='Of the bare engine')
    used: Used
    stages_ms: dict[str, Delays] = Field(
        default_factory=dict, description='By stage, as the node itself says, for the whole turn'
    )
    dropped: dict[str, int] = Field(
        default_factory=dict, description='By reason, as the node itself says, for the whole turn'
    )

    @property
    def results_per_s(self) -> float | None:
        """Frames that got through the engine each second."""
        return self.images_per_s if self.heard is None else self.heard.per_s

    @property
    def lost_percent(self) -> float | None:
        """Of the frames that were sent."""
        if self.heard is None or not self.sent.frames:
            return None
        return 100 * self.heard.lost / self.sent.frames

    def delay_ms(self, name: str) -> float | None:
        """Return a percentile of the delay."""
        delays = self.heard.delay_ms if self.heard else None
        value: float | None = getattr(delays, name, None)
        return value


FIGURES: Mapping[str, Callable[[Turn], float | None]] = {
    'results_per_s': lambda turn: turn.results_per_s,
    'lost_percent': lambda turn: turn.lost_percent,
    'delay_p50_ms': lambda turn: turn.delay_ms('p50'),
    'delay_p99_ms': lambda turn: turn.delay_ms('p99'),
    'cpu_ms_per_frame': lambda turn: turn.used.cpu_ms_per_frame,
    'cpu_cores': lambda turn: turn.used.cpu_cores,
    'peak_memory_mb': lambda turn: turn.used.peak_memory_bytes / 1e6,
}
"""What turns are compared by."""


class SideRow(Strict):
    """What the turns of one side say together; null: nothing."""

    side: str
    problem: str | None = Field(description='Why there are no more turns; null: there is no why')
    results_per_s: Spread | None = Field(
        default=None, description='Frames through the engine, or messages heard'
    )
    lost_percent: Spread | None = Field(default=None, description='Of the frames that were sent')
    delay_p50_ms: Spread | None = Field(default=None, description='Stamp to receipt of the result')
    delay_p99_ms: Spread | None = Field(default=None, description='Likewise')
    cpu_ms_per_frame: Spread | None = Field(
        default=None, description='CPU time of all processes of the side for a frame received'
    )
    cpu_cores: Spread | None = None
    peak_memory_mb: Spread | None = Field(default=None, description='Of all processes together')
    turns: tuple[Turn, ...]

    @classmethod
    def of(cls, name: str, side: Side[Turn]) -> Self:
        """Return the row of a side that has had its turns."""
        figures = {key: Spread.of_known(map(take, side.turns)) for key, take in FIGURES.items()}
        spreads: dict[str, Any] = {key: value for key, value in figures.items() if value}
        return cls(side=name, problem=side.problem, turns=tuple(side.turns), **spreads)


class Ratio(Strict):
    """One side's figure divided by another's, round by round: both saw the same machine."""

    figure: str = Field(description='A name of the columns of `rows`')
    side: str
    over: str = Field(description='The side that it is divided by')
    value: Spread

    @classmethod
    def of(
        cls, figure: str, above: tuple[str, Sequence[Turn]], below: tuple[str, Sequence[Turn]]
    ) -> Self | None:
        """Compare the turns of two named sides; None: there are no rounds that both have."""
        take = FIGURES[figure]
        pairs = [
            (over, under) for over, under in zip(
                map(take, above[1]), map(take, below[1]), strict=False
            ) if over is not None and under
        ]
        value = ratios([pair[0] for pair in pairs], [pair[1] for pair in pairs])
        if value is None:
            return None
        return cls(figure=figure, side=above[0], over=below[0], value=value)
