"""`perception_ros bench transport`: what a message costs its subscriber."""

from __future__ import annotations

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench.answers import check_target, command_line
from perception_ros.cli.bench.live import (
    answer,
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
    Size,
    stream_of,
    WarmUp,
    with_progress,
)
from perception_ros.rig import transport as rig


def transport(
    cameras: Cameras = 1,
    size: Size = '1280x720',
    rate: Rate = 30.0,
    encoding: EncodingOption = 'raw',
    reliability: ReliabilityOption = 'reliable',
    images: Images = DEFAULT_IMAGES,
    rounds: Rounds = 5,
    seconds: Seconds = 4.0,
    warm_up: WarmUp = 1.0,
    json_file: JsonFile = None,
    plot: Plot = None,
) -> None:
    """Measure what an image costs a subscriber that only receives it: CPU time and delay.

    On the default transport and on our profile: rclpy's typed and raw messages, and the way in
    which the perception node takes them.
    """
    need_ros()
    for file in (json_file, plot):
        check_target(file)
    stream = stream_of(cameras, size, rate, encoding, reliability, images)
    timing = Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds)
    report = with_progress(
        lambda announce: rig.measure(stream, timing, announce, command=command_line())
    )
    answer(report, json_file, plot)
