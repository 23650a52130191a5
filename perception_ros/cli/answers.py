"""What a command answers: shown to a person, or JSON for a program."""

from __future__ import annotations

from collections.abc import Callable
import json
from pathlib import Path
from typing import Any

import typer

from perception_ros.core.errors import ConfigError
from perception_ros.core.files import check_writable, write_text


def give(answers: Any, json_file: Path | None, show: Callable[[], None]) -> None:
    """Show answers and write them to a file, if there is one; `-`: JSON on stdout alone.

    :raises ConfigError: the file cannot be written.
    """
    text = as_json(answers)
    if json_file and str(json_file) == '-':
        typer.echo(text)
        return
    show()
    if json_file:
        write(json_file, text + '\n')


def writable(path: Path | None) -> None:
    """Look whether a file can be written, before the work whose answers it is for.

    :raises ConfigError: it cannot.
    """
    if path is None or str(path) == '-':
        return
    try:
        check_writable(path)
    except OSError as error:
        raise ConfigError(f'{path}: {error}') from error


def as_json(answers: Any) -> str:
    """Return answers as commands print and keep them."""
    return json.dumps(answers, indent=2, ensure_ascii=False)


def write(path: Path, text: str) -> None:
    """Write what a command was asked to keep.

    :raises ConfigError: it cannot be written.
    """
    try:
        write_text(path, text)
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written; {error.strerror}') from error
