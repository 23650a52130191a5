"""`perception_ros bench engine`: bundles in every backend, side by side."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, cast, get_args

import typer

from perception_ros.backends.base import PerformanceHint
from perception_ros.benchmarks import engine as engine_benchmark
from perception_ros.benchmarks.grids import doubts, grids, not_measured
from perception_ros.benchmarks.markdown import page
from perception_ros.benchmarks.plan import default_backends, EnginePlan, LabelledData, REFERENCE
from perception_ros.benchmarks.plot import draw
from perception_ros.benchmarks.report import EngineReport, EngineSettings, Occasion
from perception_ros.bundles import Bundle
from perception_ros.bundles.manifest import Precision
from perception_ros.cli.answers import write
from perception_ros.cli.bench.answers import (
    check_target,
    command_line,
    print_grids,
    write_picture,
    write_report,
)
from perception_ros.cli.bench.live import DEFAULT_IMAGES, with_progress
from perception_ros.cli.evaluate import (
    class_names,
    DATASET_HELP,
    LABELS_HELP,
    open_datasets,
    RENAME_HELP,
    renames,
)
from perception_ros.cli.main import split_names
from perception_ros.core.errors import BenchmarkError, ConfigError


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
        check_target(file)
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
    show_engines(report)
    write_engines(report, json_file, markdown, plot)
    if all(row.problem for row in report.rows):
        raise BenchmarkError('nothing could be measured; what is listed above says why')


def _measure(plan: EnginePlan) -> EngineReport:
    occasion = Occasion(command_line())
    measured = with_progress(lambda announce: engine_benchmark.measure(plan, announce))
    return EngineReport(
        **occasion.facts(*doubts(measured.rows)),
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


def show_engines(report: EngineReport) -> None:
    """Print a report as tables."""
    left_out = [f'not measured: {text}' for text in not_measured(report)]
    print_grids(grids(report), left_out, report.warnings)


def write_engines(
    report: EngineReport, json_file: Path | None, markdown: Path | None, plot: Path | None
) -> None:
    """Write a report, its page and its picture.

    :raises ConfigError: a file cannot be written.
    """
    if json_file:
        write_report(json_file, report)
    if plot:
        write_picture(plot, draw(report))
    if markdown:
        picture = os.path.relpath(plot, markdown.parent) if plot else None
        write(markdown, page(report, picture))
