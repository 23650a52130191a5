"""`perception_ros evaluate-fusion`: how well boxes find their place in space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.cli.answers import give
from perception_ros.evaluation.fusion import FusionFigures, PaintFigures
from perception_ros.recording.fusion import LEAST_POINTS, measure, Measurement, MOST_RANGE_M


def evaluate_fusion(
    data: Annotated[list[Path], typer.Argument(
        help="Folders of KITTI's object data (image_2, velodyne, calib, label_2) or with a "
        'sample.json of nuScenes.'
    )],
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file; -: to stdout.')
    ] = None,
) -> None:
    """Measure objects in space and painted points on labelled LiDAR sweeps, by class."""
    measured = {
        'with the LiDAR': measure(data),
        'by camera alone': measure(data, use_points=False),
    }
    answers: dict[str, Any] = {
        name: item.model_dump() for name, item in measured.items()
    }
    give(answers, json_file, lambda: _print(Console(), measured))


def _print(console: Console, measured: dict[str, Measurement]) -> None:
    for name, item in measured.items():
        console.print(
            f'\nObjects from labelled 2D boxes, {name}: not cut off by the image, at least '
            f'{LEAST_POINTS} points, up to {MOST_RANGE_M:g} m', highlight=False,
        )
        console.print(_objects(item.objects))
        if item.paint:
            console.print('Points painted from the same boxes, with three points or more')
            console.print(_paint(item.paint))


def _objects(rows: Sequence[FusionFigures]) -> Table:
    table = Table('class', box=SIMPLE_HEAD, pad_edge=False)
    for column in (
        'n', 'found', 'surface in place', 'surface range', 'across, m', 'centre range',
        'across, m', 'p90, m', 'yaw, deg', 'of n', 'camera alone',
    ):
        table.add_column(column, justify='right')
    for row in rows:
        if row.name == 'all':
            table.add_section()
        table.add_row(
            row.name, str(row.objects), str(row.found),
            f'{row.in_place / row.objects:.2f}' if row.objects else '-',
            *map(_metres, (
                row.surface_range_p50_m, row.surface_across_p50_m, row.centre_range_p50_m,
                row.centre_across_p50_m, row.centre_p90_m,
            )),
            '-' if row.yaw_p50_deg is None else f'{row.yaw_p50_deg:.0f}', str(row.yaws),
            str(row.by_camera),
        )
    return table


def _paint(rows: Sequence[PaintFigures]) -> Table:
    table = Table('class', box=SIMPLE_HEAD, pad_edge=False)
    for column in ('boxes', 'points seen in them', 'painted so', 'painted outside'):
        table.add_column(column, justify='right')
    for row in rows:
        share = f'{row.painted / row.points:.3f}' if row.points else '-'
        table.add_row(row.name, str(row.boxes), str(row.points), share, str(row.outside))
    return table


def _metres(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
