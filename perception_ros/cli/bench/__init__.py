"""`perception_ros bench`: measurements that say on what they were made."""

from __future__ import annotations

import typer

from perception_ros.cli.bench.engine import engine, show
from perception_ros.cli.bench.pipeline import pipeline
from perception_ros.cli.bench.replay import replay
from perception_ros.cli.bench.start import start

bench = typer.Typer(no_args_is_help=True)


@bench.callback()
def _family() -> None:
    """Measure side by side in one run, and say on what."""


for command in (engine, pipeline, replay, show, start):
    bench.command()(command)
