"""`perception_ros bench ingest`: what an image costs until the engine has it."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench.answers import check_target, command_line
from perception_ros.cli.bench.live import (
    answer,
    Bundle_,
    Cameras,
    DEFAULT_IMAGES,
    EncodingOption,
    Images,
    JsonFile,
    need_ros,
    Plot,
    Rate,
    ReliabilityOption,
    Rounds,
    Seconds,
    serving_of,
    Size,
    stream_of,
    WarmUp,
    with_progress,
)
from perception_ros.cli.main import split_names
from perception_ros.rig import ingest as rig


def ingest(
    bundle: Bundle_ = 'roadscene',
    cameras: Cameras = 1,
    size: Size = '1280x720',
    rate: Rate = 30.0,
    encoding: EncodingOption = 'raw',
    reliability: ReliabilityOption = 'reliable',
    images: Images = DEFAULT_IMAGES,
    sides: Annotated[
        str, typer.Option(help=f'What is compared, with commas: {", ".join(rig.SIDES)}.')
    ] = ','.join(rig.SIDES),
    rounds: Rounds = 5,
    seconds: Seconds = 5.0,
    warm_up: WarmUp = 2.0,
    json_file: JsonFile = None,
    plot: Plot = None,
) -> None:
    """Measure the CPU time of a received image, from DDS to the letterboxed slot of the batch.

    The perception node beside plain rclpy nodes, which stop there, on both transports, and beside
    two copies of the image in memory. The bundle gives the size of the engine's input.
    """
    need_ros()
    for file in (json_file, plot):
        check_target(file)
    stream = stream_of(cameras, size, rate, encoding, reliability, images)
    serving = serving_of(bundle, 'fake', rig.FAKE_MS, cameras)
    timing = Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds)
    report = with_progress(lambda announce: rig.measure(
        stream, serving, timing, announce, command=command_line(), sides=split_names(sides)
    ))
    answer(report, json_file, plot)
