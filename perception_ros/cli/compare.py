"""`perception_ros compare`: what differs between two replays."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.cli.answers import give
from perception_ros.replay import need_libraries

need_libraries()

from perception_ros.replay.compare import CHANGES, figures, ModelComparison  # noqa: E402
from perception_ros.replay.compare import compare as compare_runs  # noqa: E402
from perception_ros.replay.summary import read_summary  # noqa: E402

Run = Annotated[Path, typer.Argument(help='Folder that a replay has written.')]


def compare(
    first: Run,
    second: Run,
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write it to this file; -: to stdout.')
    ] = None,
    exit_code: Annotated[
        bool, typer.Option('--exit-code', help='Exit with status 1 if detections differ.')
    ] = False,
) -> None:
    """Say which detections of one replay appeared, vanished, moved or were renamed in another.

    Frames belong together by camera and stamp. docs/replay.md has the rules.
    """
    found = compare_runs(first, second)
    both = figures(read_summary(first), read_summary(second))
    answers = {
        'figures': {key: {'first': old, 'second': new} for key, (old, new) in both.items()},
        'models': {name: item.as_json() for name, item in found.items()},
    }

    def show() -> None:
        _print_figures(Console(), both)
        for name, item in found.items():
            _print(Console(), name, item)

    give(answers, json_file, show)
    if exit_code and not all(item.is_equal for item in found.values()):
        raise typer.Exit(1)


def _print_figures(console: Console, both: Mapping[str, tuple[float, float]]) -> None:
    table = Table('', box=SIMPLE_HEAD, pad_edge=False)
    for column in ('first', 'second', 'difference'):
        table.add_column(column, justify='right')
    for key, (old, new) in both.items():
        table.add_row(key, f'{old:.3f}', f'{new:.3f}', f'{new - old:+.3f}')
    console.print(table)


def _print(console: Console, model: str, item: ModelComparison) -> None:
    figures = item.as_json()
    table = Table(model, box=SIMPLE_HEAD, pad_edge=False)
    for column in ('same', *CHANGES):
        table.add_column(column, justify='right')
    for name, counts in figures['classes'].items():
        table.add_row(name, *(str(counts[column]) for column in ('same', *CHANGES)))
    console.print(table)
    alone = ', '.join(
        f'{count} only in the {which}'
        for which, count in (('first', item.only_first), ('second', item.only_second)) if count
    )
    console.print(
        f'{item.frames} frames in both{", " + alone if alone else ""}; scores of the same '
        f'detections differ by {item.score_difference:.4g} at most',
        highlight=False, soft_wrap=True,
    )
    for change in figures['relabelled']:
        console.print(f'{change["n"]} {change["from"]} became {change["to"]}', highlight=False)
    for frame in figures['worst_frames'][:5]:
        console.print(
            f'{frame["changes"]} changes: {frame["camera"]} at {frame["stamp_ns"] / 1e9:.3f} s',
            highlight=False, soft_wrap=True,
        )
