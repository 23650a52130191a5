"""Faults on purpose, where commands take them and say what came of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

FAULTS_HELP = 'YAML file of what goes wrong on purpose; config/faults.yaml has all kinds.'
Faults = Annotated[Path | None, typer.Option(help=FAULTS_HELP)]


def print_effects(console: Console, effects: Sequence[Mapping[str, Any]]) -> None:
    """Print what faults must cause and have caused, as `summary.json` has it."""
    if not effects:
        return
    table = Table('fault', box=SIMPLE_HEAD, pad_edge=False)
    table.add_column('messages', justify='right')
    for column in ('expected', 'measured', 'met'):
        table.add_column(column, overflow='fold')
    for item in effects:
        figures = ', '.join(
            f'{count} {name.replace("_", " ")}'
            for name, count in item['measured'].items() if count
        )
        met = {True: 'yes', False: '[bold red]NO[/]', None: '-'}[item['is_met']]
        table.add_row(item['name'], str(item['messages']), item['expected'], figures, met)
    console.print(table)
