"""`perception_ros bench soak`: the node for a long time, with cameras that come and go."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.benchmarks.live.settings import Timing
from perception_ros.cli.bench import live
from perception_ros.cli.bench.answers import command_line
from perception_ros.rig import soak as rig


def soak(
    bundle: live.Bundle_ = 'roadscene',
    backend: live.Backend = 'fake',
    fake_ms: live.FakeMs = 5.0,
    batch: live.Batch = 0,
    minutes: Annotated[float, typer.Option(min=0.05, help='How long it lasts.')] = 20.0,
    deadline_ms: Annotated[
        float, typer.Option(min=1, help='Detections later than this after their stamp are late.')
    ] = 100.0,
    cameras: live.Cameras = 6,
    size: live.Size = '1280x720',
    rate: live.Rate = 30.0,
    encoding: live.EncodingOption = 'raw',
    transport: live.TransportOption = 'profile',
    reliability: live.ReliabilityOption = 'reliable',
    images: live.Images = live.DEFAULT_IMAGES,
    warm_up: live.WarmUp = 5.0,
    json_file: live.JsonFile = None,
    plot: live.Plot = None,
) -> None:
    """Run the node for long while cameras come and go: memory, threads, files, late results.

    A camera that goes withdraws its topic, and announces it anew when it comes back. Each goes
    about a dozen times, at times that are the same in every run of that length.
    """
    live.get_ready(json_file, plot)
    stream = live.stream_of(cameras, size, rate, encoding, reliability, images)
    serving = live.serving_of(bundle, backend, fake_ms, batch or cameras)
    timing = Timing(rounds=1, warm_up_s=warm_up, seconds=60 * minutes)
    report = live.with_progress(lambda announce: rig.measure(
        stream, serving, timing, announce, command=command_line(), deadline_ms=deadline_ms,
        transport=live.transport_of(transport),
    ))
    live.answer(report, json_file, plot)
