"""A bar for work that takes long, where a person looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar('Item')


def progress(
    items: Iterable[Item],
    description: str = 'Working...',
    *,
    total: float | None = None,
    console: Console | None = None,
) -> Iterator[Item]:
    """Yield items beside a bar on stderr, if that is a terminal; it goes when they end.

    :param total: how many they are, if they do not say so.
    :param console: on which others print meanwhile; None: nobody does.
    """
    console = console or Console(stderr=True)
    yield from track(
        items, description, total, console=console, transient=True,
        disable=not console.is_terminal,
    )
