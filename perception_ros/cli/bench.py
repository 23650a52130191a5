"""`perception_ros bench`: measurements that say on what they were made."""

from __future__ import annotations

from datetime import datetime, timezone
import os
from pathlib import Path
import shlex
import sys
from tempfile import TemporaryDirectory
from typing import Annotated, cast, get_args, Literal

import cv2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
import typer

from perception_ros.backends.base import PerformanceHint
from perception_ros.benchmarks import engine as engine_benchmark
from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.grids import doubts, Grid, grids, not_measured
from perception_ros.benchmarks.markdown import page
from perception_ros.benchmarks.plan import default_backends, EnginePlan, LabelledData, REFERENCE
from perception_ros.benchmarks.plot import draw
from perception_ros.benchmarks.report import EngineReport, EngineSettings
from perception_ros.bundles import Bundle
from perception_ros.bundles.manifest import Precision
from perception_ros.cli.answers import as_json
from perception_ros.cli.evaluate import (
    class_names,
    DATASET_HELP,
    LABELS_HELP,
    open_datasets,
    RENAME_HELP,
    renames,
)
from perception_ros.cli.main import split_names, warn
from perception_ros.cli.start import start
from perception_ros.core.errors import BenchmarkError, ConfigError
from perception_ros.core.files import write_bytes, write_text
from perception_ros.core.machine import load_average

DEFAULT_IMAGES = Path('.cache/demo')
_FILE_WIDTH = 140
"""Of tables that go to a file or a pipe, in characters."""

bench = typer.Typer(no_args_is_help=True)


@bench.callback()
def _family() -> None:
    """Measure side by side in one run, and say on what."""


bench.command()(start)


@bench.command()
def engine(
    bundles: Annotated[
        list[str],
        typer.Argument(help='Folders, or names of shipped ones; all precisions of a model.'),
    ],
    backends: Annotated[
        str,
        typer.Option(
            help='NAME or NAME@DEVICE, with commas. Default: all that auto may take; '
            f'{REFERENCE} is measured in any case.'
        ),
    ] = '',
    precisions: Annotated[
        str, typer.Option(help='Of the bundles, take only these: fp32,fp16,int8.')
    ] = '',
    batches: Annotated[str, typer.Option(help='Images in one call, with commas.')] = '1,2,4,8',
    images: Annotated[
        Path, typer.Option(help='Folder of pictures, video or picture to run on.')
    ] = DEFAULT_IMAGES,
    image_count: Annotated[int, typer.Option(min=1, help='How many of them.')] = 12,
    dataset: Annotated[list[str] | None, typer.Option(help=DATASET_HELP)] = None,
    split: Annotated[
        str, typer.Option(help='SPLIT of the datasets that name none themselves.')
    ] = '',
    labels: Annotated[str, typer.Option(help=LABELS_HELP)] = '',
    rename: Annotated[
        list[str] | None,
        typer.Option(
            metavar='CLASS=CLASS',
            help=f'{RENAME_HELP} Where a bundle knows the new name and not the old one.',
        ),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help='Every engine has a turn in each.')] = 15,
    seconds: Annotated[
        float, typer.Option(min=0, help='Of a turn: so long kept busy, then so long call by call.')
    ] = 0.5,
    threads: Annotated[int, typer.Option(min=0, help="0: the runtime's choice.")] = 0,
    performance_hint: Annotated[str, typer.Option(help='latency or throughput.')] = 'latency',
    server: Annotated[
        str, typer.Option(help='HOST:PORT of a Triton server that serves the bundles.')
    ] = '',
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the report to this file.')
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help='Write the report as a page to this file.')
    ] = None,
    plot: Annotated[Path | None, typer.Option(help='Draw the ratios into this PNG file.')] = None,
) -> None:
    """Measure bundles in every backend, at every batch: speed, memory, answers and accuracy.

    All engines of a model take turns, each in a process of its own, and are compared with ONNX
    Runtime on the CPU at FP32. What does not work is listed with the reason, and the exit status
    is 0; it is 1 if nothing could be measured.
    """
    for file in (json_file, markdown, plot):
        _check_target(file)
    kept = _precisions(precisions)
    opened = tuple(
        bundle for name in bundles if (bundle := Bundle.load(name)).manifest.precision in kept
    )
    open_datasets(dataset or [], split=split, labels=labels, rename=rename)  # says what is wrong
    plan = EnginePlan(
        bundles=opened,
        backends=split_names(backends) or default_backends(server),
        batches=_batches(batches),
        images=images,
        image_count=image_count,
        datasets=tuple(
            LabelledData(reference, split, class_names(labels), renames(rename))
            for reference in dataset or []
        ),
        rounds=rounds,
        seconds=seconds,
        threads=threads,
        performance_hint=_hint(performance_hint),
        server=server,
    )
    report = _measure(plan)
    _print(report)
    _write(report, json_file, markdown, plot)
    if all(row.problem for row in report.rows):
        raise BenchmarkError('nothing could be measured; what is listed above says why')


@bench.command()
def show(
    report: Annotated[Path, typer.Argument(help='What --json wrote.')],
    markdown: Annotated[
        Path | None, typer.Option(help='Write the report as a page to this file.')
    ] = None,
    plot: Annotated[Path | None, typer.Option(help='Draw the ratios into this PNG file.')] = None,
) -> None:
    """Show what was measured before, as tables, a page or a plot."""
    for file in (markdown, plot):
        _check_target(file)
    read = EngineReport.read(report)
    _print(read)
    _write(read, None, markdown, plot)


@bench.command()
def replay(
    bag: Annotated[Path, typer.Argument(help='A bag of a hundred images or more.')],
    config: Annotated[Path, typer.Option(help="The node's parameter file.")],
    rounds: Annotated[int, typer.Option(min=1, help='Every side has a turn in each.')] = 5,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file.')
    ] = None,
) -> None:
    """Measure what replaying costs: images/s and memory, against decoding and inferring alone."""
    from perception_ros.replay import need_libraries

    need_libraries()
    from perception_ros.replay.speed import measure

    if json_file:
        _check_target(json_file)
    console = Console(stderr=True)
    with console.status('') as status, TemporaryDirectory() as folder:
        figures = measure(bag, config, Path(folder), rounds, lambda done: status.update(
            f'{done} of {rounds} rounds'
        )).as_json()
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ('', 'images/s', 'of bare', '8 of 10 rounds', 'peak MB', 'above bare'):
        table.add_column(column, justify='right' if column else 'left')
    for name, side in figures['sides'].items():
        of_bare = side['of_bare']
        table.add_row(
            name, f'{side["images_per_s"]["median"]:.1f}', f'{of_bare["median"]:.2f}',
            f'{of_bare["p10"]:.2f} .. {of_bare["p90"]:.2f}', f'{side["peak_memory_mb"]:.0f}',
            f'{side["above_bare_mb"]:.0f}',
        )
    Console().print(table)
    for text in Environment.model_validate(figures['environment']).warnings():
        warn(text)
    if json_file:
        write_text(json_file, as_json(figures) + '\n')


def _measure(plan: EnginePlan) -> EngineReport:
    environment, begun = Environment.here(), datetime.now(timezone.utc)
    console = Console(stderr=True)
    with console.status('') as status:
        measured = engine_benchmark.measure(plan, status.update)
    return EngineReport(
        command=f'perception_ros {shlex.join(sys.argv[1:])}',
        measured=begun.isoformat(timespec='seconds'),
        environment=environment,
        load_average_after=round(load_average(), 2),
        warnings=(*environment.warnings(), *doubts(measured.rows)),
        settings=EngineSettings(
            rounds=plan.rounds, seconds=plan.seconds, images=measured.images,
            threads=plan.threads, performance_hint=plan.performance_hint,
        ),
        reference=REFERENCE,
        backends=measured.backends,
        bundles=measured.bundles,
        rows=measured.rows,
        accuracy=measured.accuracy,
    )


def _precisions(text: str) -> tuple[str, ...]:
    known = get_args(Precision)
    names = split_names(text) or known
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f'--precisions: expected some of {", ".join(known)}, got {unknown[0]!r}')
    return names


def _hint(text: str) -> PerformanceHint:
    for hint in get_args(PerformanceHint):
        if text == hint:
            return cast(PerformanceHint, hint)
    raise ConfigError(f'--performance-hint: expected latency or throughput, got {text!r}')


def _batches(text: str) -> tuple[int, ...]:
    names = split_names(text)
    if not all(name.isascii() and name.isdecimal() for name in names):
        raise ConfigError(f'--batches: expected whole numbers with commas, got {text!r}')
    return tuple(int(name) for name in names)


def _check_target(file: Path | None) -> None:
    """Refuse now what cannot be written after minutes of work."""
    if file is None:
        return
    if file.is_dir():
        raise ConfigError(f'{file}: expected a file to write, got a folder')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'{file.parent}: expected a folder to write to; {error.strerror}'
        ) from error


def _print(report: EngineReport) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    for grid in grids(report):
        console.print(_table(grid))
    for text in not_measured(report):
        console.print(f'not measured: {text}', markup=False, highlight=False)
    for text in report.warnings:
        warn(text)


def _write(
    report: EngineReport, json_file: Path | None, markdown: Path | None, plot: Path | None
) -> None:
    try:
        if json_file:
            write_text(json_file, report.model_dump_json(indent=2) + '\n')
        if plot:
            write_bytes(plot, cv2.imencode('.png', draw(report))[1].tobytes())
        if markdown:
            picture = os.path.relpath(plot, markdown.parent) if plot else None
            write_text(markdown, page(report, picture))
    except OSError as error:
        raise ConfigError(f'{error.filename}: cannot be written; {error.strerror}') from error


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify='left', box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(grid.columns):
        justify: Literal['left', 'right'] = 'right' if index >= grid.first_number else 'left'
        table.add_column(name, justify=justify, overflow='fold')
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table
