"""`perception_ros triton-repository`: write what a Triton server loads to serve bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, cast

import typer

from perception_ros.backends import BACKENDS
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BackendError, ConfigError

try:
    from perception_ros.backends.triton.repository import (
        Device,
        Platform,
        README_NAME,
        Serving,
        write_repository,
    )
except ImportError as error:
    raise BackendError(f'{error}; {BACKENDS["triton"].install}') from error

_QUEUE = 'How requests wait'


def triton_repository(
    bundles: Annotated[
        list[str],
        typer.Argument(help='Their folders, or names of shipped ones.', metavar='BUNDLE...'),
    ],
    output: Annotated[Path, typer.Option(help='Folder of the model repository.')],
    platform: Annotated[
        str,
        typer.Option(
            help='What runs the graphs: onnxruntime; tensorrt (of ONNX Runtime, at the precision '
            'of the graph); openvino (every batch is filled up to the greatest).'
        ),
    ] = 'onnxruntime',
    device: Annotated[
        str, typer.Option(help='auto (a GPU if the server sees one), cpu or gpu.')
    ] = 'auto',
    instances: Annotated[
        int, typer.Option(min=1, max=64, help='Copies of a model side by side, on each GPU.')
    ] = 1,
    max_batch: Annotated[
        int, typer.Option(min=1, max=256, help='Most images in one call of the graph.')
    ] = 8,
    preferred_batch: Annotated[
        list[int] | None,
        typer.Option(
            help='Batch to wait for, for graphs that are faster at some. Repeatable; default: '
            'the greatest.',
            rich_help_panel=_QUEUE,
        ),
    ] = None,
    queue_delay_us: Annotated[
        int,
        typer.Option(
            min=0,
            max=1_000_000,
            help='How long a request waits for those of other clients to share its batch. The '
            'node sends whole batches: 0 is best where it is alone.',
            rich_help_panel=_QUEUE,
        ),
    ] = 0,
    queue_timeout_ms: Annotated[
        int,
        typer.Option(
            min=0,
            max=600_000,
            help='Requests that have waited longer are refused, not run; 0: never.',
            rich_help_panel=_QUEUE,
        ),
    ] = 500,
    priority_levels: Annotated[
        int,
        typer.Option(
            min=1,
            max=1000,
            help="Requests of level 1 (the node's server_priority) go first; those that name no "
            'level are of the last.',
            rich_help_panel=_QUEUE,
        ),
    ] = 2,
    overwrite: Annotated[
        bool, typer.Option(help='Replace a model repository that this command wrote.')
    ] = False,
) -> None:
    """Write what a Triton server loads: for each bundle its graph and a configuration.

    A README.md beside says how to start the server, and how to point the node to it.
    """
    serving = Serving(
        cast(Platform, platform),
        cast(Device, device),
        instances,
        max_batch,
        tuple(preferred_batch or ()),
        queue_delay_us,
        queue_timeout_ms,
        priority_levels,
    )
    opened = [Bundle.load(bundle) for bundle in bundles]
    try:
        write_repository(output, opened, serving, overwrite=overwrite)
    except OSError as error:
        raise ConfigError(f'{output}: cannot be written; {error.strerror}') from error
    names = ', '.join(bundle.manifest.name for bundle in opened)
    typer.echo(f'wrote {output}: {names}; {output / README_NAME} says how to start the server')
