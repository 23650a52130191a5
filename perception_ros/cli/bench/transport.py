"""`perception_ros bench transport`: what a message costs its subscriber."""

from __future__ import annotations

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench import live
from perception_ros.cli.bench.answers import command_line
from perception_ros.rig import transport as rig


def transport(
    cameras: live.Cameras = 1,
    size: live.Size = '1280x720',
    rate: live.Rate = 30.0,
    encoding: live.EncodingOption = 'raw',
    reliability: live.ReliabilityOption = 'reliable',
    images: live.Images = live.DEFAULT_IMAGES,
    rounds: live.Rounds = 5,
    seconds: live.Seconds = 4.0,
    warm_up: live.WarmUp = 1.0,
    json_file: live.JsonFile = None,
    plot: live.Plot = None,
) -> None:
    """Measure what an image costs a subscriber that only receives it: CPU time and delay.

    On the default transport and on our profile: rclpy's typed and raw messages, and the way in
    which the perception node takes them.
    """
    live.get_ready(json_file, plot)
    stream = live.stream_of(cameras, size, rate, encoding, reliability, images)
    timing = Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds)
    report = live.with_progress(
        lambda announce: rig.measure(stream, timing, announce, command=command_line())
    )
    live.answer(report, json_file, plot)
