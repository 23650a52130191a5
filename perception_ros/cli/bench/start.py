"""`perception_ros bench start`: how soon the node answers, and what it costs while it idles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
import threading
import time
from typing import Annotated

import typer

from perception_ros.backends.configured import open_model
from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.grids import Grid
from perception_ros.benchmarks.statistics import Spread
from perception_ros.bundles.bundle import Bundle
from perception_ros.cli.answers import as_json, write
from perception_ros.cli.bench.answers import check_target, print_grids
from perception_ros.cli.bench.live import JsonFile, with_progress
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.parameter_file import read_parameter_file


def start(
    config: Annotated[Path, typer.Option(help="The node's parameter file.")],
    rounds: Annotated[int, typer.Option(min=1, help='So often the node is started.')] = 5,
    idle: Annotated[
        float, typer.Option(min=1.0, help='Seconds without images that are looked at.')
    ] = 10.0,
    json_file: JsonFile = None,
) -> None:
    """Measure the time from the node's start to its first result, and what it costs idle.

    The cameras of the parameter file send grey images of 1280x720 from before the start. Engines
    are opened once more apart, to say how much of the time is theirs.
    """
    from perception_ros.realtime.start import measure_start

    check_target(json_file)
    environment = Environment.here()
    read = read_parameter_file(config)
    outputs = {
        name: Bundle.load(model.bundle or name).manifest.outputs
        for name, model in read.models.items()
    }
    starts, engines_s = [], []

    def start_often(announce: Callable[[str], None]) -> None:
        with TemporaryDirectory() as folder:
            for done in range(rounds):
                announce(f'{done} of {rounds} starts')
                log = Path(folder) / 'perception_node.log'
                starts.append(measure_start(config, read, outputs, idle, log))
                engines_s.append(_engines_s(read))

    with_progress(start_often)
    figures = {
        'process to first result, s': Spread.of([item.first_result_s for item in starts]),
        'of that opening engines, s': Spread.of(engines_s),
        'idle, % of a core': Spread.of([100 * item.idle_cpu_share for item in starts]),
    }
    rows = [
        (name, f'{spread.median:.2f}', f'{spread.p10:.2f} .. {spread.p90:.2f}')
        for name, spread in figures.items()
    ]
    table = Grid('', ('', 'median', '8 of 10 starts'), rows, 1)
    print_grids([table], warnings=environment.warnings())
    if json_file:
        content = {
            'environment': environment.model_dump(),
            'figures': {name: spread.model_dump() for name, spread in figures.items()},
        }
        write(json_file, as_json(content) + '\n')


def _engines_s(config: PerceptionConfig) -> float:
    begun_s = time.monotonic()
    for name in config.models:
        open_model(name, config, ignore={}, cancel=threading.Event()).engine.close()
    return time.monotonic() - begun_s
