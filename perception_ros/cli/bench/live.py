"""What the benchmarks have in common, above all those of running nodes: options and answers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, cast, get_args, TypeVar

from pydantic import ValidationError
from rich.console import Console
import typer

from perception_ros.benchmarks.live.plot import draw
from perception_ros.benchmarks.live.reports import LiveReport
from perception_ros.benchmarks.live.settings import (
    Serving,
    Stream,
    Transport,
)
from perception_ros.benchmarks.live.tables import doubts, not_measured, tables
from perception_ros.bundles import Bundle
from perception_ros.cli.bench.answers import (
    check_target,
    print_grids,
    write_picture,
    write_report,
)
from perception_ros.core.config import describe
from perception_ros.core.errors import BenchmarkError, ConfigError

DEFAULT_IMAGES = Path('.cache/demo')
"""Where `make setup` puts the demo photograph."""

_Measured = TypeVar('_Measured')

Bundle_ = Annotated[str, typer.Argument(help='Name of a shipped bundle, or a folder.')]
Backend = Annotated[
    str, typer.Option(help='fake takes --fake-ms for each call; or a real one, or auto.')
]
FakeMs = Annotated[float, typer.Option(min=0.01, help='Time of a call of the fake backend.')]
Batch = Annotated[int, typer.Option(min=0, help='Most images in a call; 0: as many as cameras.')]
Cameras = Annotated[int, typer.Option(min=1, max=64)]
Size = Annotated[str, typer.Option(help='WIDTHxHEIGHT of the images, px.')]
Rate = Annotated[float, typer.Option(min=0.1, max=1000, help='Images/s of each camera.')]
EncodingOption = Annotated[str, typer.Option(help='raw (bgr8) or jpeg.')]
ReliabilityOption = Annotated[str, typer.Option(help='reliable or best_effort.')]
TransportOption = Annotated[
    str, typer.Option(help='profile: config/fastdds.xml; default: the RMW as it comes.')
]
Images = Annotated[
    Path, typer.Option(help='Folder of pictures, video or picture to send; drawn if absent.')
]
Rounds = Annotated[int, typer.Option(min=1, help='Every side has a turn in each.')]
Seconds = Annotated[float, typer.Option(min=0.5, help='Of a turn that count.')]
WarmUp = Annotated[float, typer.Option(min=0, help='Seconds of sending before a turn counts.')]
JsonFile = Annotated[Path | None, typer.Option('--json', help='Write the report to this file.')]
Plot = Annotated[Path | None, typer.Option(help='Draw the figures into this PNG file.')]


def stream_of(
    cameras: int,
    size: str,
    rate: float,
    encoding: str,
    reliability: str,
    images: Path,
    *,
    one_sender_each: bool = False,
) -> Stream:
    """Return what is sent, as options have it.

    :raises ConfigError: an option is not as it should be.
    """
    width, _, height = size.partition('x')
    if not images.exists() and images != DEFAULT_IMAGES:
        raise ConfigError(f'--images: nothing is there at {images}')
    try:
        return Stream.model_validate({
            'cameras': cameras, 'width': width, 'height': height, 'rate_hz': rate,
            'encoding': encoding, 'reliability': reliability,
            'senders': 'each' if one_sender_each else 'one',
            'images': str(images) if images.exists() else '',
        })
    except ValidationError as error:
        raise ConfigError(describe(error)) from error


def serving_of(bundle: str, backend: str, fake_ms: float, batch: int) -> Serving:
    """Return the engine, as options have it; a bundle's folder becomes absolute.

    :raises PerceptionError: it is no bundle.
    """
    path = Bundle.load(bundle).path.resolve()
    return Serving(
        bundle=str(path), backend=backend, fake_ms=fake_ms if backend == 'fake' else 0.0,
        max_batch=batch,
    )


def transport_of(text: str) -> Transport:
    """Return a transport by its name.

    :raises ConfigError: it is none.
    """
    for transport in get_args(Transport):
        if text == transport:
            return cast(Transport, transport)
    raise ConfigError(f'--transport: expected default or profile, got {text!r}')


def get_ready(json_file: Path | None, plot: Path | None) -> None:
    """Refuse now what would fail after minutes.

    :raises BenchmarkError: nodes cannot run here.
    :raises ConfigError: a file cannot be written.
    """
    try:
        import rclpy  # noqa: F401
    except ModuleNotFoundError as error:
        raise BenchmarkError(
            f'running nodes are measured, which needs ROS 2, but {error}. Source your '
            'distribution, or run `make setup` in the source tree and use its .venv'
        ) from error
    for file in (json_file, plot):
        check_target(file)


def with_progress(measure: Callable[[Callable[[str], None]], _Measured]) -> _Measured:
    """Measure while a line says what is going on."""
    console = Console(stderr=True)
    with console.status('') as status:
        return measure(status.update)


def answer(report: LiveReport, json_file: Path | None, plot: Path | None) -> None:
    """Print, write and draw a report.

    :raises BenchmarkError: nothing could be measured.
    """
    left_out = [f'not measured: {text}' for text in not_measured(report)]
    print_grids(tables(report), left_out, (*report.warnings, *doubts(report)))
    if json_file:
        write_report(json_file, report)
    if not any(row.turns for row in report.rows):
        raise BenchmarkError('nothing could be measured; what is listed above says why')
    if plot:
        write_picture(plot, draw(report))
