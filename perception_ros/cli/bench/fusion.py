"""`perception_ros bench fusion`: what a sweep costs until its points are painted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from perception_ros.benchmarks.fusion.report import draw, FusionReport, grid, lines, measure
from perception_ros.benchmarks.fusion.scene import Scene
from perception_ros.cli.bench.answers import (
    check_target,
    command_line,
    print_grids,
    write_picture,
    write_report,
)
from perception_ros.cli.bench.live import JsonFile, Plot, with_progress
from perception_ros.recording.sweeps import labelled_sweeps


def fusion(
    data: Annotated[Path, typer.Argument(
        help="Folder of KITTI's object data, or one with a sample.json of nuScenes; the first "
        'sweep counts.'
    )],
    rounds: Annotated[
        int, typer.Option(min=1, help='In each, both sides fuse the sweep once.')
    ] = 200,
    json_file: JsonFile = None,
    plot: Plot = None,
) -> None:
    """Measure the fusion of a sweep with all cameras beside a plain loop over them, by stages.

    Points, lenses and boxes are real; a semantic mask is drawn for each camera. All of it in one
    thread: set OMP_NUM_THREADS=1 and OPENBLAS_NUM_THREADS=1 for NumPy's part.
    """
    for file in (json_file, plot):
        check_target(file)
    sweep = next(labelled_sweeps(data))
    scene = Scene.of(f'{data.name}/{sweep.name}', sweep.fusion_set, sweep.base_from_lidar)
    report = with_progress(lambda announce: measure(scene, rounds, announce, command_line()))
    show_fusion(report, plot)
    if json_file:
        write_report(json_file, report)


def show_fusion(report: FusionReport, plot: Path | None) -> None:
    """Print a report, and draw it."""
    print_grids([grid(report)], lines(report), report.warnings)
    if plot:
        write_picture(plot, draw(report))
