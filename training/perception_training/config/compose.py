"""One set of settings from a YAML file and the files that it extends."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from perception_ros.core.errors import ConfigError

EXTENDS = 'extends'


def composed(path: Path) -> dict[str, Any]:
    """
    Read a YAML file on top of those that its `extends` names, relative to its own folder.

    Of two files the later one wins, and the file itself over all that it extends. Mappings are
    merged key by key; anything else, lists too, is replaced as a whole.

    :raises ConfigError: a file is missing, no YAML, or extends itself; with who extends it.
    """
    return _composed(path, ())


def _composed(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    said_by = f' (extended by {above[-1]})' if above else ''
    if any(path.resolve() == other.resolve() for other in above):
        raise ConfigError('extends: expected files that do not extend themselves, got ' +
                          ' -> '.join(str(p) for p in (*above, path)))
    try:
        own = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f'{path}{said_by}: expected a readable YAML file; {error}') from error
    except yaml.YAMLError as error:
        raise ConfigError(
            f'{path}{said_by} is not valid YAML: {" ".join(str(error).split())}') from error
    if not isinstance(own, dict):
        raise ConfigError(
            f'{path}{said_by}: expected keys and values, got {type(own).__name__}')
    names = own.pop(EXTENDS, [])
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f'{path}: {EXTENDS}: expected a file name or a list of them, relative '
                          f'to {path.parent}, got {names!r}')
    whole: dict[str, Any] = {}
    for name in names:
        whole = _merged(whole, _composed(path.parent / name, (*above, path)))
    return _merged(whole, own)


def _merged(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    both = {key: _merged(lower[key], value)
            if isinstance(value, dict) and isinstance(lower.get(key), dict) else value
            for key, value in upper.items()}
    return {**lower, **both}
