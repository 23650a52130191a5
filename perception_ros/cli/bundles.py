"""`perception_ros bundles`: which models are there, and how good they are said to be."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import sys
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
import typer

from perception_ros.bundles import Bundle
from perception_ros.bundles.find import engine_folders, list_bundles
from perception_ros.core.errors import BundleError


def bundles(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(help='Folders with bundles; default: where shipped ones lie.'),
    ] = None,
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON, no table.')] = False,
) -> None:
    """List the bundles that are there: size, tasks, precision, and accuracy as they state it.

    Each is checked; one that is damaged is listed with what is wrong, and the exit status is 1.
    """
    places = list(folders or engine_folders())
    found = [describe(path) for path in list_bundles(places)]
    if as_json:
        searched = [str(place) for place in places]
        typer.echo(json.dumps({'bundles': found, 'searched': searched}, indent=2))
    elif found:
        Console().print(_table(found))
    else:
        typer.echo('no bundles; searched ' + ', '.join(str(place) for place in places))
    if any(item['problem'] for item in found):
        raise typer.Exit(1)


def describe(path: Path) -> dict[str, Any]:
    """Return what `bundles` says about one folder, ready for JSON.

    `problem` is null for a bundle that holds what it promises; the other keys but `name` and
    `path` are there for such a one only.
    """
    try:
        bundle = Bundle.load(path)
    except BundleError as error:
        return {'name': path.name, 'path': str(path), 'problem': str(error)}
    manifest = bundle.manifest
    return {
        'name': path.name,
        'path': str(path),
        'problem': None,
        'bytes': bundle.graph_path.stat().st_size,
        'input': [manifest.input.width, manifest.input.height],
        'tasks': list(manifest.tasks),
        'precision': manifest.precision,
        'metrics': dict(numbers(manifest.provenance.metrics)),
    }


def numbers(metrics: Any, name: str = '') -> Iterator[tuple[str, float]]:
    """Yield the numbers of a manifest's metrics by name; 'a.b' is `b` within `a`."""
    if isinstance(metrics, dict):
        for key, value in metrics.items():
            yield from numbers(value, f'{name}.{key}' if name else key)
    elif isinstance(metrics, bool) or not isinstance(metrics, (int, float)):
        return
    elif abs(metrics) <= sys.float_info.max:  # YAML's whole numbers have no end
        yield name, metrics


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(
        'bundle', 'graph', 'input', 'tasks', 'precision', 'accuracy', box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for item in found:
        if item['problem']:
            table.add_row(Text(item['name']), '', '', Text(item['problem'], 'red'))
            continue
        width, height = item['input']
        accuracy = '\n'.join(f'{name} {value:.4g}' for name, value in item['metrics'].items())
        table.add_row(
            Text(item['name']),
            f'{item["bytes"] / 1e6:.1f} MB',
            f'{width}x{height}',
            '\n'.join(item['tasks']),
            item['precision'],
            Text(accuracy or 'not stated'),
        )
    return table
