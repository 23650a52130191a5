"""`perception_ros bench overload`: the node with more images than its engine can take."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench import live
from perception_ros.cli.bench.answers import command_line
from perception_ros.core.errors import ConfigError
from perception_ros.rig import overload as rig


def overload(
    bundle: live.Bundle_ = 'roadscene',
    times: Annotated[
        float, typer.Option(min=1, max=100, help='Images offered over what the engine can take.')
    ] = 3.0,
    first: Annotated[
        int, typer.Option(min=1, help='How many cameras go first where priorities differ.')
    ] = 1,
    batch: Annotated[int, typer.Option(min=1, help='Most images in a call of the engine.')] = 1,
    cameras: live.Cameras = 6,
    size: live.Size = '640x480',
    rate: live.Rate = 30.0,
    encoding: live.EncodingOption = 'raw',
    transport: live.TransportOption = 'profile',
    reliability: live.ReliabilityOption = 'reliable',
    images: live.Images = live.DEFAULT_IMAGES,
    rounds: live.Rounds = 1,
    seconds: live.Seconds = 60.0,
    warm_up: live.WarmUp = 5.0,
    json_file: live.JsonFile = None,
    plot: live.Plot = None,
) -> None:
    """Measure the node under overload: bounded delay, fair shares, priorities, memory.

    A fake engine is made so slow that the cameras send so many times what it can take. The node
    has its turns with half of what it can take, with too much, and with too much while some
    cameras go first.
    """
    live.get_ready(json_file, plot)
    if first >= cameras:
        raise ConfigError(f'--first: expected fewer than the {cameras} cameras, got {first}')
    stream = live.stream_of(cameras, size, rate, encoding, reliability, images)
    serving = rig.serving_for(
        live.serving_of(bundle, 'fake', 1.0, batch).bundle, stream, times, batch
    )
    timing = Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds)
    report = live.with_progress(lambda announce: rig.measure(
        stream, serving, timing, announce, command=command_line(), times=times, first=first,
        transport=live.transport_of(transport),
    ))
    live.answer(report, json_file, plot)
