"""What a benchmark answers: tables for people, files for programs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import shlex
import sys
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perception_ros.benchmarks.grids import Grid
from perception_ros.benchmarks.report import Report
from perception_ros.cli.answers import write
from perception_ros.cli.main import warn
from perception_ros.core.errors import ConfigError
from perception_ros.core.files import write_bytes

_FILE_WIDTH = 140
"""Of tables that go to a file or a pipe, in characters."""


def command_line() -> str:
    """Return the command that is running, as a reader can repeat it."""
    return f'perception_ros {shlex.join(sys.argv[1:])}'


def check_target(file: Path | None) -> None:
    """Refuse now what cannot be written after minutes of work.

    :raises ConfigError: no file can be written there.
    """
    if file is None:
        return
    if file.is_dir():
        raise ConfigError(f'{file}: expected a file to write, got a folder')
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f'{file.parent}: expected a folder to write to; {error.strerror}'
        ) from error


def print_grids(
    grids: Iterable[Grid], lines: Iterable[str] = (), warnings: Iterable[str] = ()
) -> None:
    """Print tables, lines below them, and, on stderr, warnings."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    for grid in grids:
        console.print(_table(grid))
    for line in lines:
        console.print(line, markup=False, highlight=False)
    for text in warnings:
        warn(text)


def write_report(path: Path, report: Report) -> None:
    """Write a report as JSON.

    :raises ConfigError: it cannot be written.
    """
    write(path, report.model_dump_json(indent=2) + '\n')


def write_picture(path: Path, bgr: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W, 3] BGR as PNG.

    :raises ConfigError: it cannot be written.
    """
    try:
        write_bytes(path, cv2.imencode('.png', bgr)[1].tobytes())
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written; {error.strerror}') from error


def _table(grid: Grid) -> Table:
    table = Table(title=grid.title, title_justify='left', box=SIMPLE_HEAD, pad_edge=False)
    for index, name in enumerate(grid.columns):
        justify: Literal['left', 'right'] = 'right' if index >= grid.first_number else 'left'
        table.add_column(name, justify=justify, overflow='fold')
    for row in grid.rows:
        table.add_row(*map(Text, row))
    return table
