"""`perception_ros bench start`: how soon the node answers, and what it costs while it idles."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
import threading
import time
from typing import Annotated

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.backends.configured import open_model
from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.statistics import Spread
from perception_ros.bundles.bundle import Bundle
from perception_ros.cli.answers import as_json
from perception_ros.cli.main import warn
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.files import write_text
from perception_ros.core.parameter_file import read_parameter_file


def start(
    config: Annotated[Path, typer.Option(help="The node's parameter file.")],
    rounds: Annotated[int, typer.Option(min=1, help='So often the node is started.')] = 5,
    idle: Annotated[
        float, typer.Option(min=1.0, help='Seconds without images that are looked at.')
    ] = 10.0,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file.')
    ] = None,
) -> None:
    """Measure the time from the node's start to its first result, and what it costs idle.

    The cameras of the parameter file send grey images of 1280x720 from before the start. Engines
    are opened once more apart, to say how much of the time is theirs.
    """
    from perception_ros.realtime.start import measure_start

    environment = Environment.here()
    read = read_parameter_file(config)
    outputs = {
        name: Bundle.load(model.bundle or name).manifest.outputs
        for name, model in read.models.items()
    }
    console = Console(stderr=True)
    starts, engines_s = [], []
    with console.status('') as status, TemporaryDirectory() as folder:
        for done in range(rounds):
            status.update(f'{done} of {rounds} starts')
            log = Path(folder) / 'perception_node.log'
            starts.append(measure_start(config, read, outputs, idle, log))
            engines_s.append(_engines_s(read))
    figures = {
        'process to first result, s': Spread.of([item.first_result_s for item in starts]),
        'of that opening engines, s': Spread.of(engines_s),
        'idle, % of a core': Spread.of([100 * item.idle_cpu_share for item in starts]),
    }
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in ('', 'median', '8 of 10 starts'):
        table.add_column(column, justify='right' if column else 'left')
    for name, spread in figures.items():
        table.add_row(name, f'{spread.median:.2f}', f'{spread.p10:.2f} .. {spread.p90:.2f}')
    Console().print(table)
    for text in environment.warnings():
        warn(text)
    if json_file:
        content = {
            'environment': environment.model_dump(),
            'figures': {name: spread.model_dump() for name, spread in figures.items()},
        }
        write_text(json_file, as_json(content) + '\n')


def _engines_s(config: PerceptionConfig) -> float:
    begun_s = time.monotonic()
    for name in config.models:
        open_model(name, config, ignore={}, cancel=threading.Event()).engine.close()
    return time.monotonic() - begun_s
