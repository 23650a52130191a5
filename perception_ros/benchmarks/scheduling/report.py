"""What all policies make of many scenarios: the measurement, its report and its table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from perception_ros.benchmarks.grids import Grid, number
from perception_ros.benchmarks.report import Occasion, Report, Strict
from perception_ros.benchmarks.scheduling.policies import POLICIES
from perception_ros.benchmarks.scheduling.scenario import draw
from perception_ros.benchmarks.scheduling.simulation import Outcome, simulate

LOADS = ((0.3, 0.8), (0.8, 1.5), (1.5, 5.0))
"""Frames that come over those that the engine can take; from, to."""

FAIR = 0.05
"""Deviation from the fair share up to which a scenario counts as fair."""


class PolicyRow(Strict):
    """One policy in all scenarios of a range of loads."""

    policy: str
    load: tuple[float, float] = Field(description='Frames that come over what can be taken')
    scenarios: int
    frames: int = Field(description='That came')
    p50_ms: float = Field(description='Age of a frame when its call ends, since it came')
    p99_ms: float
    max_ms: float
    shed: float = Field(description='Share of the frames that were never inferred')
    in_time: float = Field(description='Share of the frames that made the deadline')
    over_bound: float = Field(
        description='Share of the inferred frames that were older than the bound of our scheduler'
    )
    unfairness: float = Field(
        description='Largest deviation from its fair share of a camera among those of its '
        'priority and rate, in all scenarios without outages'
    )
    fair_scenarios: float = Field(
        description='Share of the scenarios without outages with no greater deviation than 5 %'
    )
    utilisation: float = Field(description='Mean share of the time in which the engine ran')


class SchedulerReport(Report):
    """Our scheduler and others in invented traffic. The figures do not depend on the machine."""

    benchmark: Literal['scheduler'] = 'scheduler'
    scenarios: int
    seed: int = Field(description='Of the first scenario; each next one has the next')
    seconds: float = Field(description='Of traffic in each scenario')
    rows: tuple[PolicyRow, ...]


def measure(
    scenarios: int, seed: int, seconds: float, announce: Callable[[str], None], command: str
) -> SchedulerReport:
    """Simulate every policy in every scenario; each range of loads has a third of them."""
    occasion = Occasion(command)
    rows = []
    for index, load in enumerate(LOADS):
        seeds = range(seed + index, seed + scenarios, len(LOADS))
        drawn = [draw(number, seconds, load) for number in seeds]
        for name, make in POLICIES.items():
            announce(f'{name}, load {load[0]:g} to {load[1]:g}')
            outcomes = [simulate(scenario, make(scenario)) for scenario in drawn]
            rows.append(row_of(name, load, outcomes))
    return SchedulerReport(
        **{**occasion.facts(), 'warnings': ()},  # no figure depends on the machine
        scenarios=scenarios, seed=seed, seconds=seconds, rows=tuple(rows),
    )


def row_of(policy: str, load: tuple[float, float], outcomes: Sequence[Outcome]) -> PolicyRow:
    """Return what a policy made of one or more scenarios."""
    ages = [np.array(outcome.ages_ms()) for outcome in outcomes]
    frames = sum(len(camera.arrivals_ns) for o in outcomes for camera in o.scenario.cameras)
    pairs = list(zip(outcomes, ages, strict=True))
    done = np.concatenate(ages)
    p50, p99, greatest = np.percentile(done, (50, 99, 100))
    over = sum(int((aged > np.array(o.bounds_ms()) + 1e-6).sum()) for o, aged in pairs)
    in_time = sum(int((aged <= o.scenario.deadline_ms).sum()) for o, aged in pairs)
    deviations = [o.unfairness() for o in outcomes if not o.scenario.has_outages]
    return PolicyRow(
        policy=policy, load=load, scenarios=len(outcomes), frames=frames,
        p50_ms=p50, p99_ms=p99, max_ms=greatest,
        shed=1 - len(done) / frames, in_time=in_time / frames, over_bound=over / len(done),
        unfairness=max(deviations, default=0.0),
        fair_scenarios=sum(off <= FAIR for off in deviations) / max(len(deviations), 1),
        utilisation=float(np.mean([outcome.utilisation() for outcome in outcomes])),
    )


def grid(report: SchedulerReport) -> Grid:
    """Return the report as a table."""
    return Grid(
        f'{report.scenarios} scenarios of {report.seconds:g} s',
        (
            'load', 'policy', 'p50, ms', 'p99, ms', 'max, ms', 'shed', 'in time', 'over bound',
            'fair', 'engine busy',
        ),
        [
            (
                f'{row.load[0]:g} to {row.load[1]:g}', row.policy,
                number(row.p50_ms), number(row.p99_ms), number(row.max_ms),
                *(
                    f'{share:.1%}' for share in (
                        row.shed, row.in_time, row.over_bound, row.fair_scenarios, row.utilisation
                    )
                ),
            )
            for row in report.rows
        ],
        first_number=2,
    )
