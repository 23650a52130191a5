"""`perception_ros bench show`: what was measured before, once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception_ros.benchmarks.fusion.report import FusionReport
from perception_ros.benchmarks.live.reports import LiveReport
from perception_ros.benchmarks.report import EngineReport
from perception_ros.benchmarks.scheduling.report import SchedulerReport
from perception_ros.benchmarks.schema import read_report
from perception_ros.cli.bench.answers import check_target
from perception_ros.cli.bench.engine import show_engines, write_engines
from perception_ros.cli.bench.fusion import show_fusion
from perception_ros.cli.bench.live import answer
from perception_ros.cli.bench.scheduler import show_scheduler
from perception_ros.core.errors import ConfigError


def show(
    report: Annotated[Path, typer.Argument(help='What --json wrote.')],
    markdown: Annotated[
        Path | None, typer.Option(help='Write a report of engines as a page to this file.')
    ] = None,
    plot: Annotated[Path | None, typer.Option(help='Draw it into this PNG file.')] = None,
) -> None:
    """Show what was measured before, as tables, a page or a plot."""
    for file in (markdown, plot):
        check_target(file)
    read = read_report(report)
    if isinstance(read, EngineReport):
        show_engines(read)
        write_engines(read, None, markdown, plot)
    elif isinstance(read, LiveReport | FusionReport):
        if markdown:
            raise ConfigError('--markdown: expected a report of engines; others have no page')
        if isinstance(read, FusionReport):
            show_fusion(read, plot)
        else:
            answer(read, None, plot)
    elif isinstance(read, SchedulerReport):
        if markdown or plot:
            raise ConfigError('a report of schedulers has a table, no page and no plot')
        show_scheduler(read)
