"""`perception_ros bench ingest`: what an image costs until the engine has it."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench import live
from perception_ros.cli.bench.answers import command_line
from perception_ros.cli.main import split_names
from perception_ros.rig import ingest as rig


def ingest(
    bundle: live.Bundle_ = 'roadscene',
    cameras: live.Cameras = 1,
    size: live.Size = '1280x720',
    rate: live.Rate = 30.0,
    encoding: live.EncodingOption = 'raw',
    reliability: live.ReliabilityOption = 'reliable',
    images: live.Images = live.DEFAULT_IMAGES,
    sides: Annotated[
        str, typer.Option(help=f'What is compared, with commas: {", ".join(rig.SIDES)}.')
    ] = ','.join(rig.SIDES),
    rounds: live.Rounds = 5,
    seconds: live.Seconds = 5.0,
    warm_up: live.WarmUp = 2.0,
    json_file: live.JsonFile = None,
    plot: live.Plot = None,
) -> None:
    """Measure the CPU time of a received image, from DDS to the letterboxed slot of the batch.

    The perception node beside plain rclpy nodes, which stop there, on both transports, and beside
    two copies of the image in memory. The bundle gives the size of the engine's input.
    """
    live.get_ready(json_file, plot)
    stream = live.stream_of(cameras, size, rate, encoding, reliability, images)
    serving = live.serving_of(bundle, 'fake', rig.FAKE_MS, cameras)
    timing = Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds)
    report = live.with_progress(lambda announce: rig.measure(
        stream, serving, timing, announce, command=command_line(), sides=split_names(sides)
    ))
    live.answer(report, json_file, plot)
