"""`perception_ros bench soak`: the node for a long time, with cameras that come and go."""

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
    serving_of,
    Size,
    stream_of,
    transport_of,
    TransportOption,
    WarmUp,
    with_progress,
)
from perception_ros.rig import soak as rig


def soak(
    bundle: Bundle_ = 'roadscene',
    backend: Backend = 'fake',
    fake_ms: FakeMs = 5.0,
    batch: Batch = 0,
    minutes: Annotated[float, typer.Option(min=0.05, help='How long it lasts.')] = 20.0,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help='Detections later than this after their stamp are late.')
    ] = 100.0,
    cameras: Cameras = 6,
    size: Size = '1280x720',
    rate: Rate = 30.0,
    encoding: EncodingOption = 'raw',
    transport: TransportOption = 'profile',
    reliability: ReliabilityOption = 'reliable',
    images: Images = DEFAULT_IMAGES,
    warm_up: WarmUp = 5.0,
    json_file: JsonFile = None,
    plot: Plot = None,
) -> None:
    """Run the node for long while cameras come and go: memory, threads, files, late results.

    A camera that goes withdraws its topic, and announces it anew when it comes back. Each goes
    about a dozen times, at times that are the same in every run of that length.
    """
    need_ros()
    for file in (json_file, plot):
        check_target(file)
    stream = stream_of(cameras, size, rate, encoding, reliability, images)
    serving = serving_of(bundle, backend, fake_ms, batch or cameras)
    timing = Timing(rounds=1, warm_up_s=warm_up, seconds=60 * minutes)
    report = with_progress(lambda announce: rig.measure(
        stream, serving, timing, announce, command=command_line(), deadline_ms=deadline_ms,
        transport=transport_of(transport),
    ))
    answer(report, json_file, plot)
