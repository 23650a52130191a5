"""`perception_ros evaluate-calibration-check`: how small an error of an extrinsic is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.cli.answers import give, writable
from perception_ros.cli.progress import progress
from perception_ros.recording.alignment import AlignmentFigures, measure


def evaluate_calibration_check(
    data: Annotated[list[Path], typer.Argument(
        help="Folders of KITTI's object data (image_2, velodyne, calib, label_2) or with a "
        'sample.json of nuScenes.'
    )],
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file; -: to stdout.')
    ] = None,
) -> None:
    """Turn cameras by known angles about each axis, and count how often that is found."""
    writable(json_file)
    console = Console(stderr=True)
    if not console.is_terminal:
        console.print('Each image is checked some thirty times: about ten seconds an image')
    figures = measure(data, track=progress)
    give([item.model_dump() for item in figures], json_file, lambda: _print(Console(), figures))


def _print(console: Console, figures: Sequence[AlignmentFigures]) -> None:
    table = Table('checked with', box=SIMPLE_HEAD, pad_edge=False)
    table.add_column('axis')
    for column in ('deg', 'n', 'agrees', 'refuted', 'rightly', 'unclear', 'left, deg'):
        table.add_column(column, justify='right')
    for item in figures:
        table.add_row(
            item.name, item.axis, '-' if item.error_deg is None else f'{item.error_deg:g}',
            *map(str, (item.n, item.agrees, item.refuted, item.right, item.unclear)),
            '-' if item.left_p50_deg is None else f'{item.left_p50_deg:.2f}',
        )
    console.print(table)
