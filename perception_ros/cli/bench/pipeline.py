"""`perception_ros bench pipeline`: the node at a given rate, beside plain nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench.answers import check_target, command_line
from perception_ros.cli.bench.live import (
    answer,
    Backend,
    Batch,
    Bundle_,
    Cameras,
    DEFAULT_IMAGES,
    EncodingOption,
    FakeMs,
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
    transport_of,
    TransportOption,
    WarmUp,
    with_progress,
)
from perception_ros.cli.main import split_names
from perception_ros.rig import pipeline as rig

P99Limit = Annotated[float, typer.Option(min=1, help='For --find-rate: highest p99, ms.')]


def pipeline(
    bundle: Bundle_ = 'roadscene',
    backend: Backend = 'fake',
    fake_ms: FakeMs = 5.0,
    batch: Batch = 0,
    cameras: Cameras = 6,
    size: Size = '1280x720',
    rate: Rate = 30.0,
    encoding: EncodingOption = 'raw',
    transport: TransportOption = 'profile',
    reliability: ReliabilityOption = 'reliable',
    images: Images = DEFAULT_IMAGES,
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
    rounds: Rounds = 5,
    seconds: Seconds = 5.0,
    warm_up: WarmUp = 2.0,
    json_file: JsonFile = None,
    plot: Plot = None,
) -> None:
    """Measure the node from stamp to detections: frames/s, lost frames, delay, CPU, memory.

    In every round each side has its turn: the node; the bare engine, kept busy beside a subscriber
    that only receives; and plain rclpy nodes, one a camera, on the default transport and on our
    profile. Sender and listener are processes of their own.
    """
    need_ros()
    for file in (json_file, plot):
        check_target(file)
    stream = stream_of(
        cameras, size, rate, encoding, reliability, images, one_sender_each=sender_each
    )
    serving = serving_of(bundle, backend, fake_ms, batch or cameras)
    report = with_progress(lambda announce: rig.measure(
        stream, serving, Timing(rounds=rounds, warm_up_s=warm_up, seconds=seconds), announce,
        command=command_line(), transport=transport_of(transport), sides=split_names(sides),
        p99_limit_ms=p99_ms if find_rate else None,
    ))
    answer(report, json_file, plot)
