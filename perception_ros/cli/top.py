"""`perception_ros top`: a running node, live in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
import json
import time
from typing import Annotated, Any

from rich.console import Console
from rich.live import Live
import typer

from perception_ros.cli.answers import as_json
from perception_ros.cli.top_view import draw
from perception_ros.core.errors import ConfigError, WatchError
from perception_ros.ros.domain import chosen_domain
from perception_ros.ros.watch import Watch

SILENT_S = 3.0
"""A node speaks once a second; after so long without a word it is shown as silent."""


def top(
    namespace: Annotated[str, typer.Argument(help='Namespace of the node.')] = '/perception',
    camera: Annotated[
        str, typer.Option(help='Show the stages of this camera with all percentiles.')
    ] = '',
    once: Annotated[
        bool, typer.Option('--once', help='Print one second and exit, as without a terminal.')
    ] = False,
    json_lines: Annotated[
        bool, typer.Option('--json', help='Print JSON, a line a second; with --once one document.')
    ] = False,
    wait_s: Annotated[
        float, typer.Option('--wait', help='Seconds to wait for the node to be heard.', min=0.1)
    ] = 10.0,
) -> None:
    """Show what a running node does: rates, losses, latency by camera and stage, the machine.

    It hears the node's topic `latency` and `/diagnostics`, in the domain of ROS_DOMAIN_ID; the
    node does nothing more for it. Ctrl-C ends it.
    """
    console = Console()
    domain = chosen_domain() or 0
    with Watch(namespace, domain) as watch:
        first = watch.wait(wait_s)
        if camera and camera not in first['cameras']:
            raise ConfigError(
                f'--camera {camera}: expected one of {", ".join(first["cameras"])}'
            )
        title = f'{namespace}, domain {domain}'
        if once and json_lines:
            typer.echo(as_json(first))
        elif json_lines:
            _print_lines(first, watch)
        elif once or not console.is_terminal:
            console.print(draw(first, camera, title))
        else:
            _show_live(first, watch, camera, title, console)


def _print_lines(first: dict[str, Any], watch: Watch) -> None:
    for told, silent_s in _seconds(first, watch):
        if not silent_s:
            typer.echo(json.dumps(told, ensure_ascii=False))


def _show_live(
    first: dict[str, Any], watch: Watch, camera: str, title: str, console: Console
) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            for told, silent_s in _seconds(first, watch):
                state = f'silent for {silent_s:.0f} s' if silent_s else time.strftime('%H:%M:%S')
                live.update(draw(told, camera, f'{title}, {state}'), refresh=True)
        except KeyboardInterrupt:
            return


def _seconds(first: dict[str, Any], watch: Watch) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield what the node says, and for how long it has been silent if it is."""
    told, silent_s = first, 0.0
    while True:
        yield told, silent_s
        try:
            told, silent_s = watch.wait(SILENT_S), 0.0
        except WatchError:
            silent_s = time.monotonic() - watch.heard_s
