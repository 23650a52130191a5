"""`perception_ros bench`: measurements that say on what they were made."""

from __future__ import annotations

import typer

from perception_ros.cli.bench.engine import engine
from perception_ros.cli.bench.fusion import fusion
from perception_ros.cli.bench.fusion_live import fusion_live
from perception_ros.cli.bench.ingest import ingest
from perception_ros.cli.bench.overload import overload
from perception_ros.cli.bench.pipeline import pipeline
from perception_ros.cli.bench.replay import replay
from perception_ros.cli.bench.scheduler import scheduler
from perception_ros.cli.bench.show import show
from perception_ros.cli.bench.soak import soak
from perception_ros.cli.bench.start import start
from perception_ros.cli.bench.transport import transport

bench = typer.Typer(no_args_is_help=True)


@bench.callback()
def _family() -> None:
    """Measure side by side in one run, and say on what."""


for command in (
    engine, pipeline, ingest, transport, overload, soak, start, replay, scheduler, fusion,
    fusion_live, show,
):
    bench.command()(command)
