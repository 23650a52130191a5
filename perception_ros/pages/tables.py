"""Tables of a page: what a cell says, and how it says it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

NONE = '–'
Look = Literal['', 'good', 'bad', 'head']


@dataclass(frozen=True)
class Cell:
    """What stands in a cell."""

    text: str
    number: bool = False
    """Whether it stands at the right."""
    share: float | None = None
    """0..1: a bar behind it."""
    look: Look = ''
    title: str = ''
    """Said when it is pointed at."""


@dataclass(frozen=True)
class Table:
    """A head and rows, all of one length."""

    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    matrix: bool = False
    """Whether its bars are shades: a confusion matrix."""


def text(value: Any, look: Look = '') -> Cell:
    """Give a cell of words."""
    return Cell(NONE if value is None or value == '' else str(value), look=look)


def number(value: float | None, digits: int = 0, unit: str = '') -> Cell:
    """Give a cell of a number."""
    return Cell(NONE if value is None else f'{value:,.{digits}f}{unit}', number=True)


def share(value: float | None, bar: bool = True) -> Cell:
    """Give a cell of a share, 0..1."""
    if value is None:
        return number(None)
    return Cell(f'{value:.3f}', number=True, share=min(max(value, 0.0), 1.0) if bar else None)


def change(before: float | None, after: float | None, digits: int) -> Cell:
    """Give a cell of a number before and after."""
    if before is None and after is None:
        return number(None)
    said = [NONE if value is None else f'{value:,.{digits}f}' for value in (before, after)]
    relative = '' if not before or after is None else f' ({after / before - 1:+.0%})'
    return Cell(f'{said[0]} → {said[1]}{relative}', number=True)


def any_tables(value: Any, title: str = '') -> list[tuple[str, Table]]:
    """
    Give tables of JSON whose keys nobody has agreed on.

    Single values stand one below the other, things of the same keys in rows of one table, and so
    do lists.
    """
    if isinstance(value, Mapping):
        single: dict[str, Any] = {}
        alike: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        tables: list[tuple[str, Table]] = []
        for key, item in value.items():
            if isinstance(item, Mapping):
                flat = _flat(item)
                alike.setdefault(tuple(flat), []).append({title: str(key), **flat})
            elif isinstance(item, (list, tuple)) and item and isinstance(item[0], Mapping):
                tables += any_tables(item, str(key))
            else:
                single[key] = item
        if single:
            tables.insert(0, (title, Table(['', ''], [
                [text(str(key).replace('_', ' '), 'head'), _any(item)]
                for key, item in single.items()])))
        return [*tables, *(('', _table(rows)) for rows in alike.values())]
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        return []
    rows = [row if isinstance(row, Mapping) else {title: row} for row in value]
    return [(title, _table([_flat(row) for row in rows]))]


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return Table([key.replace('_', ' ') for key in keys],
                 [[_any(row.get(key)) for key in keys] for row in rows])


def _flat(row: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f'{prefix}{key} ')
        else:
            found[f'{prefix}{key}'] = value
    return found


def _any(value: Any) -> Cell:
    if isinstance(value, bool):
        return text('yes' if value else 'no')
    if isinstance(value, int):
        return number(value)
    if isinstance(value, float):
        return Cell(f'{value:,.4g}', number=True)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return text(', '.join(map(str, value)))
    return text(value)
