"""`perception_ros evaluate-fusion`: how well boxes find their place in space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.table import Table
import typer

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.cli.answers import give, writable
from perception_ros.core.errors import ConfigError
from perception_ros.core.model import Model
from perception_ros.evaluation.fusion import (
    FusionFigures,
    LEAST_POINTS,
    MOST_RANGE_M,
    PaintFigures,
)
from perception_ros.evaluation.streets import measure_streets, StreetFigures
from perception_ros.recording.fusion import measure, Measurement

_CLASS_WIDTH = 20
"""construction_vehicle."""


def evaluate_fusion(
    data: Annotated[list[Path] | None, typer.Argument(
        help="Folders of KITTI's object data (image_2, velodyne, calib, label_2) or with a "
        'sample.json of nuScenes.'
    )] = None,
    streets: Annotated[
        int, typer.Option(min=0, help='So many made-up streets with exact truth as well.')
    ] = 0,
    bundle: Annotated[
        str, typer.Option(help='Whose boxes and masks are fused as well: a folder, or the name of '
                          'a shipped one. Empty: only the labelled boxes are.')
    ] = '',
    backend: Annotated[str, typer.Option(help='auto, onnxruntime, openvino ...')] = 'auto',
    device: Annotated[
        str, typer.Option(help='auto, cpu, or what the backend knows, such as cuda:0.')
    ] = 'auto',
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file; -: to stdout.')
    ] = None,
) -> None:
    """Measure objects in space and painted points on labelled LiDAR sweeps, by class.

    An object is in place if its nearest visible surface is within 0.7 m in range and 0.3 m across
    of the true one: as far away as the near tenth of the points that lie in the labelled box, in
    the direction of their middle.
    """
    if not data and not streets:
        raise ConfigError(
            'expected folders of labelled sweeps, or --streets N for made-up ones, got neither'
        )
    writable(json_file)
    if len({path.resolve() for path in data or []}) < len(data or []):
        raise ConfigError('expected each folder once: its sweeps would count twice')
    tell = Console(stderr=True).print
    answers: dict[str, Any] = {}
    measured = _measured(data, bundle, backend, device) if data else {}
    if streets:
        tell(f'{streets} made-up streets: about half a second each', highlight=False)
    answers |= {name: item.model_dump() for name, item in measured.items()}
    made_up = measure_streets(streets) if streets else None
    if made_up:
        answers['streets'] = made_up.model_dump()
    give(answers, json_file, lambda: _print(Console(), measured, made_up, streets))


def _measured(
    data: list[Path], bundle: str, backend: str, device: str
) -> dict[str, Measurement]:
    """Return what was measured on labelled sweeps, by where the boxes come from."""
    measured = {
        'labelled boxes, with the LiDAR': measure(data),
        'labelled boxes, by camera alone': measure(data, use_points=False),
    }
    if bundle:
        opened = Bundle.load(bundle)
        with open_engine(opened, backend, EngineOptions(max_batch=1, device=device)) as engine:
            model = Model(opened.manifest.name, opened.manifest, engine)
            name = f'boxes of {opened.manifest.name}'
            measured[f'{name}, with the LiDAR'] = measure(data, model=model)
            measured[f'{name}, by camera alone'] = measure(data, use_points=False, model=model)
    return measured


def _print(
    console: Console, measured: dict[str, Measurement], made_up: StreetFigures | None, streets: int
) -> None:
    console.print(
        f'Objects that no image cuts off, with {LEAST_POINTS} points or more, up to '
        f'{MOST_RANGE_M:g} m; errors in metres, of the middle one', highlight=False,
    )
    for name, item in measured.items():
        console.print(f'\nFrom {name}', style='bold', highlight=False)
        console.print(_objects(item.objects))
        if item.paint:
            console.print('Points painted from the same, in labelled boxes with three or more')
            console.print(_paint(item.paint))
    if made_up is None:
        return
    for name, rows in made_up.boxes.items():
        console.print(f'\nOn {streets} made-up streets, {name}', style='bold', highlight=False)
        console.print(_objects(rows))
    masks = made_up.masks
    console.print('\nPoints painted there by exact masks alone', style='bold', highlight=False)
    table = _table('points', ('number', 'right', 'wrong'))
    table.add_row(
        'in sight', str(masks.in_sight), f'{masks.right / masks.in_sight:.3f}',
        f'{masks.wrong / masks.in_sight:.3f}',
    )
    table.add_row('hidden', str(masks.hidden), '-', f'{masks.hidden_wrong / masks.hidden:.3f}')
    console.print(table)


def _objects(rows: Sequence[FusionFigures]) -> Group:
    """Return two tables, each of which a terminal of 80 columns has room for."""
    surfaces = _table('surface', ('n', 'found', 'in place', 'range', 'across', 'by camera'))
    centres = _table('centre', ('range', 'across', '90 %', 'in 95 %', 'yaw, deg', 'yaws'))
    for row in rows:
        if row.name == 'all':
            surfaces.add_section()
            centres.add_section()
        surfaces.add_row(
            row.name, str(row.objects), str(row.found), _share(row.in_place, row.objects),
            _metres(row.surface_range_p50_m), _metres(row.surface_across_p50_m),
            str(row.by_camera),
        )
        centres.add_row(
            row.name, _metres(row.centre_range_p50_m), _metres(row.centre_across_p50_m),
            _metres(row.centre_p90_m), _share(row.in_ellipse, row.found),
            '-' if row.yaw_p50_deg is None else f'{row.yaw_p50_deg:.0f}', str(row.yaws),
        )
    return Group(surfaces, centres)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title, box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].min_width = _CLASS_WIDTH
    for column in columns:
        table.add_column(column, justify='right')
    return table


def _paint(rows: Sequence[PaintFigures]) -> Table:
    table = _table('points', ('boxes', 'seen in them', 'painted so', 'painted outside'))
    for row in rows:
        share = _share(row.painted, row.points)
        table.add_row(row.name, str(row.boxes), str(row.points), share, str(row.outside))
    return table


def _share(part: int, whole: int) -> str:
    return f'{part / whole:.2f}' if whole else '-'


def _metres(value: float | None) -> str:
    return '-' if value is None else f'{value:.2f}'
