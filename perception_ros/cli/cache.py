"""`perception_ros cache`: which engines are stored, and a way to be rid of them."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.backends.store import EngineStore, Entry
from perception_ros.core.errors import ConfigError

_DAY_S = 86400


def cache(
    remove_after_days: Annotated[
        float | None,
        typer.Option(min=0, help='Remove what has not been used for so long; 0: everything.'),
    ] = None,
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON, no table.')] = False,
) -> None:
    """List the engines that are stored, the last used first, or remove old ones.

    They lie in the folder that PERCEPTION_ROS_CACHE names, by default in the user's cache folder;
    what is removed is built again when it is needed.
    """
    store = EngineStore()
    entries = store.entries()
    if remove_after_days is not None:
        oldest = time.time() - remove_after_days * _DAY_S
        entries = [entry for entry in entries if entry.used_s <= oldest]
        _remove(store, entries)
    engines = describe(entries)
    removed = remove_after_days is not None
    if as_json:
        found = {'folder': str(store.folder), 'removed': removed, 'engines': engines}
        typer.echo(json.dumps(found, indent=2))
        return
    if engines:
        Console().print(_table(engines))
    size = sum(entry.size_bytes for entry in entries) / 1e6
    what = 'removed' if removed else 'stored'
    typer.echo(f'{store.folder}: {len(engines)} {what}, {size:.1f} MB')


def describe(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return what is known of stored engines, ready for JSON."""
    now = time.time()
    return [
        {
            'name': str(entry.about.get('name', '')),
            'precision': str(entry.about.get('precision', '')),
            'library': f'{entry.key.get("library")} {entry.key.get("library_version")}',
            'gpu': str(entry.key.get('gpu')),
            'bytes': entry.size_bytes,
            'unused_days': round((now - entry.used_s) / _DAY_S, 3),
            'path': str(entry.path),
            'key': dict(entry.key),
        }
        for entry in entries
    ]


def _remove(store: EngineStore, entries: list[Entry]) -> None:
    for entry in entries:
        try:
            store.remove(entry)
        except OSError as error:
            raise ConfigError(f'{entry.path} cannot be removed: {error.strerror}') from error


def _table(engines: list[dict[str, Any]]) -> Table:
    table = Table('engine', 'precision', 'for', 'size', 'unused', box=SIMPLE_HEAD, pad_edge=False)
    for engine in engines:
        table.add_row(
            engine['name'],
            engine['precision'],
            f'{engine["library"]}, GPU: {engine["gpu"]}',
            f'{engine["bytes"] / 1e6:.1f} MB',
            f'{engine["unused_days"]:.1f} days',
        )
    return table
