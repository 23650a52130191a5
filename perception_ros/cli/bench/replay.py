"""`perception_ros bench replay`: what replaying a bag costs."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.grids import Grid
from perception_ros.cli.answers import as_json, write
from perception_ros.cli.bench.answers import check_target, print_grids
from perception_ros.cli.bench.live import JsonFile, Rounds, with_progress


def replay(
    bag: Annotated[Path, typer.Argument(help='A bag of a hundred images or more.')],
    config: Annotated[Path, typer.Option(help="The node's parameter file.")],
    rounds: Rounds = 5,
    json_file: JsonFile = None,
) -> None:
    """Measure what replaying costs: images/s and memory, against decoding and inferring alone."""
    from perception_ros.replay import need_libraries

    need_libraries()
    from perception_ros.replay.speed import measure

    check_target(json_file)
    with TemporaryDirectory() as folder:
        figures = with_progress(lambda announce: measure(
            bag, config, Path(folder), rounds, lambda done: announce(f'{done} of {rounds} rounds')
        )).as_json()
    rows = []
    for name, side in figures['sides'].items():
        of_bare = side['of_bare']
        rows.append((
            name, f'{side["images_per_s"]["median"]:.1f}', f'{of_bare["median"]:.2f}',
            f'{of_bare["p10"]:.2f} .. {of_bare["p90"]:.2f}', f'{side["peak_memory_mb"]:.0f}',
            f'{side["above_bare_mb"]:.0f}',
        ))
    columns = ('', 'images/s', 'of bare', '8 of 10 rounds', 'peak MB', 'above bare')
    warnings = Environment.model_validate(figures['environment']).warnings()
    print_grids([Grid('', columns, rows, 1)], warnings=warnings)
    if json_file:
        write(json_file, as_json(figures) + '\n')
