"""`perception_ros calibration-check`: whether LiDAR and cameras are where they are said to be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.bags import need_library
from perception_ros.cli.answers import give, writable
from perception_ros.cli.bag_options import Source
from perception_ros.cli.main import split_names, warn
from perception_ros.cli.progress import progress

need_library()

from perception_ros.bags.bag import open_bag  # noqa: E402 - needs the library
from perception_ros.calibration.check import check, Checked, Options, Report  # noqa: E402
from perception_ros.fusion.calibration import load  # noqa: E402

_COLOURS = {'agrees': 'green', 'refuted': 'red', 'unclear': 'yellow'}


def calibration_check(
    bag: Source,
    calibration: Annotated[
        Path | None,
        typer.Option(help='A calibration file: checked beside /tf, and used instead of it.'),
    ] = None,
    cameras: Annotated[str, typer.Option(help='Cameras, with commas; default: all.')] = '',
    lidar: Annotated[str, typer.Option(help='Topic of the points, where there are several.')] = '',
    frames: Annotated[
        int, typer.Option(min=1, help='Sweeps that are looked at, spread evenly over the bag.')
    ] = 10,
    rectified: Annotated[
        bool, typer.Option('--rectified', help='The images are rectified: P counts, not K and D.')
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write it to this file; -: to stdout.')
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help='Folder for pictures and an HTML page.')
    ] = None,
) -> None:
    """Hold where LiDAR and cameras are said to be against what they see, without labels.

    Points are laid over the images; outlines of things must fit edges of the image better than
    at any rotation around. The exit status is 1 if something is refuted. docs/calibration.md
    says how small an error is found.
    """
    writable(json_file)
    options = Options(split_names(cameras), lidar, frames, rectified)
    known = load(calibration) if calibration else None
    with open_bag(bag) as opened:
        found = check(opened, options, known, progress)
    give(found.as_json(), json_file, lambda: _print(Console(), found))
    if report:
        from perception_ros.calibration.page import write  # needs more libraries

        typer.echo(write(report, bag.name, found), err=str(json_file) == '-')
    for problem in found.problems:
        warn(problem)
    if found.verdict == 'refuted':
        raise typer.Exit(1)


def _print(console: Console, report: Report) -> None:
    table = Table('camera', box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].overflow = 'fold'
    table.add_column('by')
    table.add_column('verdict')
    for name in ('frames', 'edges', 'roll', 'pitch', 'yaw', 'sure'):
        table.add_column(name, justify='right')
    for item in report.cameras:
        table.add_row(
            item.camera, item.source, f'[{_COLOURS[item.verdict]}]{item.verdict}[/]',
            str(len(item.looks)), *_figures(item),
        )
    console.print(table)
    for item in report.cameras:
        name = item.camera if item.source == 'tf' else f'{item.camera} (file)'
        for fault in item.faults:
            _say(console, f'{name}: {fault.text}', 'red' if fault.level == 'error' else 'yellow')
        is_told = any(fault.level == 'error' for fault in item.faults)
        if not is_told or (item.estimate and item.estimate.verdict == 'refuted'):
            _say(console, f'{name}: {item.said()}', '')
    _say(console, 'Degrees by which the camera would have to be turned. Translations are not '
         'judged.', 'dim')


def _say(console: Console, text: str, style: str) -> None:
    console.print(text, style=style, highlight=False, markup=False, soft_wrap=True)


def _figures(item: Checked) -> list[str]:
    found = item.estimate
    if found is None or not found.edges:
        return ['-'] * 5
    turns = (f'{turn:+.1f}' for turn in found.correction_deg)
    return [str(found.edges), *turns, f'{found.sure:.0%}']
