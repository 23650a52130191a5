"""Findings of a check, for people."""

from collections.abc import Iterable, Iterator
import sys

from rich.console import Console
from rich.progress import track
from rich.table import Table

from perception_training.config import Config
from perception_training.data.check import Findings, Look


def watched(looks: Iterable[Look], name: str, count: int) -> Iterator[Look]:
    """Show how far a set is, where somebody watches."""
    console = Console(stderr=True)
    yield from track(looks, name, count, console=console, disable=not sys.stderr.isatty(),
                     transient=True)


def report(found: Findings, config: Config, console: Console) -> None:
    """Print what there is of each set, and then every problem, errors last."""
    overview = Table('set', 'side', title='images')
    for column in ('images', 'boxes', 'unknown regions'):
        overview.add_column(column, justify='right')
    for tally in found.tallies:
        overview.add_row(tally.name, tally.side, f'{tally.images:,}', f'{tally.boxes.sum():,}',
                         f'{tally.unknown:,}')
    console.print(overview)
    if config.labels.boxes:
        console.print(_table('boxes', found, config.labels.boxes,
                             [[f'{n:,}' for n in tally.boxes] for tally in found.tallies]))
    for head, names in config.labels.semantic.items():
        rows = [[f'{n:,} {n / max(tally.pixels[head].sum(), 1):7.2%}' for n in tally.pixels[head]]
                if head in tally.pixels else ['-'] * len(names) for tally in found.tallies]
        console.print(_table(f'{head}: pixels, and their share of those labelled', found, names,
                             rows))
    for problem in sorted(found.problems, key=lambda problem: problem.error):
        word = '[red]error[/]' if problem.error else '[yellow]note[/]'
        console.print(f'{word} {problem.kind}: ', end='')
        console.print(problem.text, markup=False, highlight=False, soft_wrap=True)
    notes = len(found.problems) - found.errors
    console.print(f'{found.errors} errors, {notes} notes')


def _table(title: str, found: Findings, names: Iterable[str], rows: list[list[str]]) -> Table:
    """Make a table with a row for each class and a column for each set."""
    table = Table('class', title=title)
    for tally in found.tallies:
        table.add_column(f'{tally.side}: {tally.name}', justify='right')
    for name, *cells in zip(names, *rows, strict=True):
        table.add_row(name, *cells)
    return table
