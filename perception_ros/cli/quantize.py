"""`perception_ros quantize`: a bundle in FP16 or INT8, if it stays good enough."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, cast

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.bundles import Bundle
from perception_ros.cli.evaluate import (
    DATASET_HELP,
    LABELS_HELP,
    open_datasets,
    RENAME_HELP,
    share,
)
from perception_ros.cli.main import complain
from perception_ros.cli.progress import progress
from perception_ros.core.errors import QuantizationError
from perception_ros.quantization import Gate, Outcome, Request
from perception_ros.quantization import quantize as run
from perception_ros.quantization.quantize import LowPrecision
from perception_ros.quantization.record import changes, doubts, figures, machine, speeds


def quantize(
    bundle: Annotated[str, typer.Argument(help='Its folder, or the name of a shipped one; fp32.')],
    precision: Annotated[str, typer.Option(help='fp16 or int8.')],
    calibration: Annotated[
        list[Path],
        typer.Option(
            help='Folder of pictures, video or picture of the cameras and roads that the model '
            'is for; labels are not needed. Repeatable.'
        ),
    ],
    dataset: Annotated[list[str] | None, typer.Option(help=DATASET_HELP)] = None,
    max_drop: Annotated[
        float, typer.Option(help='Greatest drop of mAP50 and mIoU on each data set; 0.01 is one '
                            'point.')
    ] = 0.01,
    split: Annotated[
        str, typer.Option(help='SPLIT of the datasets that name none themselves.')
    ] = '',
    labels: Annotated[str, typer.Option(help=LABELS_HELP)] = '',
    rename: Annotated[
        list[str] | None, typer.Option(metavar='CLASS=CLASS', help=RENAME_HELP)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help='Folder to write; default: BUNDLE_PRECISION beside it.')
    ] = None,
    overwrite: Annotated[bool, typer.Option(help='Replace a bundle that is there.')] = False,
    spare: Annotated[
        bool,
        typer.Option(help='Leave sensitive layers in fp32 until the result is good enough; '
                     '--no-spare: all into int8, pass or fail.'),
    ] = True,
    latency: Annotated[bool, typer.Option(help='Measure it in each backend.')] = True,
) -> None:
    """Make a bundle whose graph is in lower precision, and refuse it if it loses too much.

    The fastest form is tried first; then ever more sensitive layers stay in fp32. What is refused
    is not written; the table is printed in any case, and the exit status is 1.
    """
    if precision not in ('fp16', 'int8'):
        raise QuantizationError(f'--precision: expected fp16 or int8, got {precision!r}')
    opened = Bundle.load(bundle)
    datasets = open_datasets(dataset or [], split=split, labels=labels, rename=rename)
    request = Request(
        opened,
        output or opened.path.parent / f'{opened.path.name}_{precision}',
        cast(LowPrecision, precision),
        tuple(calibration),
        Gate(tuple(datasets), max_drop),
        spare=spare,
        overwrite=overwrite,
        rounds=7 if latency else 0,
    )
    console, stderr = Console(), Console(stderr=True)
    outcome = run(
        request,
        lambda sentence: stderr.print(sentence, highlight=False, markup=False, soft_wrap=True),
        partial(progress, console=stderr),
    )
    _print(console, outcome)
    if outcome.problems:
        complain(f'refused, nothing was written: {"; ".join(outcome.problems)}')
        raise typer.Exit(1)
    console.print(f'{request.output}: {precision}', highlight=False, markup=False)


def _print(console: Console, outcome: Outcome) -> None:
    request, candidate = outcome.request, outcome.candidate

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(
        f'{candidate.weighted - len(candidate.kept)} of {candidate.weighted} layers with weights '
        f'in {request.precision}, graph {outcome.bytes_before / 1e6:.2f} MB -> '
        f'{outcome.bytes_after / 1e6:.2f} MB'
    )
    if candidate.kept:
        say(f'In fp32 stay {", ".join(candidate.kept)}: {candidate.reason}.')
    say(f'Answers on the images held out: {changes(outcome)}')
    for dataset in dict.fromkeys(figure.dataset for figure in figures(outcome)):
        say(f'\n{dataset}, ONNX Runtime')
        table = _table('', 'fp32', request.precision, 'change')
        for figure in figures(outcome):
            if figure.dataset == dataset:
                cells = (figure.before, figure.after, figure.change)
                table.add_row(figure.name, *map(share, cells))
        console.print(table)
    if not outcome.before:
        say('Accuracy was not measured: no --dataset was given.')
    if outcome.rows:
        say(f'\nLatency of one call on {machine()}')
        table = _table(
            'backend', 'fp32 ms', f'{request.precision} ms', 'times as fast',
            'changed, from ONNX Runtime fp32',
        )
        for speed in speeds(outcome):
            if speed.problem:
                say(f'{speed.backend}: {speed.problem}')
                continue
            table.add_row(
                speed.backend, f'{speed.before_ms:.1f}', f'{speed.after_ms:.1f}',
                f'{speed.times:.2f}', speed.changed,
            )
        console.print(table)
        for doubt in doubts(outcome):
            say(doubt)


def _table(*columns: str) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify='right' if number else 'left')
    return table
