"""`perception_ros bench scheduler`: what runs next, in traffic that was never on a road."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.scheduling.report import grid, LOADS, measure, SchedulerReport
from perception_ros.cli.bench.answers import (
    check_target,
    command_line,
    print_grids,
    write_report,
)
from perception_ros.cli.bench.live import JsonFile, with_progress


def scheduler(
    scenarios: Annotated[
        int, typer.Option(min=len(LOADS), max=100_000, help='How many are simulated.')
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, help='Of the first; the next has the next.')] = 1,
    seconds: Annotated[
        float, typer.Option(min=1, max=600, help='Of traffic in each scenario.')
    ] = 10.0,
    json_file: JsonFile = None,
) -> None:
    """Simulate the scheduler beside other policies: age, shedding, fairness, use of the engine.

    1 to 12 cameras of 5 to 60 Hz with jitter, outages and priorities; engines whose time grows
    with the batch; too little and too much to do. The same seed gives the same figures anywhere.
    """
    check_target(json_file)
    report = with_progress(lambda announce: measure(
        scenarios, seed, seconds, announce, command_line()
    ))
    show_scheduler(report)
    if json_file:
        write_report(json_file, report)


def show_scheduler(report: SchedulerReport) -> None:
    """Print a report."""
    print_grids([grid(report)])
