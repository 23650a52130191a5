"""`perception_ros bench fusion-live`: whether the fusion node keeps up with a vehicle."""

from __future__ import annotations

from typing import Annotated

from pydantic import ValidationError
import typer

from perception_ros.benchmarks.live.settings import Timing, Vehicle
from perception_ros.cli.bench import live
from perception_ros.cli.bench.answers import command_line
from perception_ros.core.config import describe
from perception_ros.core.errors import ConfigError
from perception_ros.rig import fusion


def fusion_live(
    cameras: live.Cameras = 6,
    size: live.Size = '1600x900',
    rate: Annotated[
        float, typer.Option(min=0.1, max=1000, help='Results/s of each camera.')
    ] = 30.0,
    masks: Annotated[bool, typer.Option(help='Semantic masks beside the boxes.')] = True,
    result_delay_ms: Annotated[
        float, typer.Option(min=0, max=1000, help='How long after its image a result comes.')
    ] = 50.0,
    lidar_rate: Annotated[float, typer.Option(min=0.1, max=100, help='Sweeps/s.')] = 10.0,
    points: Annotated[int, typer.Option(min=64, help='Of a sweep.')] = 35_000,
    transport: live.TransportOption = 'profile',
    rounds: live.Rounds = 1,
    seconds: live.Seconds = 30.0,
    warm_up: live.WarmUp = 3.0,
    json_file: live.JsonFile = None,
    plot: live.Plot = None,
) -> None:
    """Send a LiDAR's sweeps and results of cameras over DDS, and see which come out fused.

    Each is to come out as objects and as painted points. Boxes and masks are made once, so that
    what is measured is the fusion node. The delay counts from the stamp of the sweep, and includes
    the time until the results of the cameras have come.
    """
    live.get_ready(json_file, plot)
    width, _, height = size.partition('x')
    try:
        vehicle = Vehicle.model_validate({
            'cameras': cameras, 'width': width, 'height': height, 'rate_hz': rate, 'masks': masks,
            'result_delay_ms': result_delay_ms, 'lidar_hz': lidar_rate, 'points': points,
        })
    except ValidationError as error:
        raise ConfigError(describe(error)) from error
    timing = Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds)
    report = live.with_progress(
        lambda announce: fusion.measure(
            vehicle, timing, announce, command=command_line(),
            transport=live.transport_of(transport),
        )
    )
    live.answer(report, json_file, plot)
    typer.echo(f'{report.lost} of {report.sweeps} sweeps were lost')
