"""`perception_ros bench pipeline`: the node at a given rate, beside plain nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench import live
from perception_ros.cli.bench.answers import command_line
from perception_ros.cli.main import split_names
from perception_ros.rig import pipeline as rig

P99Limit = Annotated[float, typer.Option(min=1, help='For --find-rate: highest p99, ms.')]


def pipeline(
    bundle: live.Bundle_ = 'roadscene',
    backend: live.Backend = 'fake',
    fake_ms: live.FakeMs = 5.0,
    batch: live.Batch = 0,
    cameras: live.Cameras = 6,
    size: live.Size = '1280x720',
    rate: live.Rate = 30.0,
    encoding: live.EncodingOption = 'raw',
    transport: live.TransportOption = 'profile',
    reliability: live.ReliabilityOption = 'reliable',
    images: live.Images = live.DEFAULT_IMAGES,
    sender_each: Annotated[
        bool, typer.Option('--sender-each', help='A sending process for each camera.')
    ] = False,
    sides: Annotated[
        str, typer.Option(help=f'What is compared, with commas: {", ".join(rig.SIDES)}.')
    ] = ','.join(rig.SIDES),
    find_rate: Annotated[
        bool,
        typer.Option(
            '--find-rate', help='Search for the highest rate at which p99 stays bounded, from '
            '--rate on, and measure there.'
        ),
    ] = False,
    p99_ms: P99Limit = 60.0,
    rounds: live.Rounds = 5,
    seconds: live.Seconds = 5.0,
    warm_up: live.WarmUp = 2.0,
    json_file: live.JsonFile = None,
    plot: live.Plot = None,
) -> None:
    """Measure the node from stamp to detections: frames/s, lost frames, delay, CPU, memory.

    In every round each side has its turn: the node; the bare engine, kept busy beside a subscriber
    that only receives; and plain rclpy nodes, one a camera, on the default transport and on our
    profile. Sender and listener are processes of their own.
    """
    live.get_ready(json_file, plot)
    stream = live.stream_of(
        cameras, size, rate, encoding, reliability, images, one_sender_each=sender_each
    )
    serving = live.serving_of(bundle, backend, fake_ms, batch or cameras)
    report = live.with_progress(lambda announce: rig.measure(
        stream, serving, Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds), announce,
        command=command_line(), transport=live.transport_of(transport), sides=split_names(sides),
        p99_limit_ms=p99_ms if find_rate else None,
    ))
    live.answer(report, json_file, plot)
