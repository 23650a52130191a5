"""From YAML and `key=value` words to settings, and back to text."""

from collections.abc import Sequence
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError
import yaml

from perception_ros.bundles.manifest import problems
from perception_ros.core.errors import ConfigError
from perception_training.config.compose import composed
from perception_training.config.run import Config


def load(path: Path, overrides: Sequence[str] = ()) -> Config:
    """
    Read a YAML file with those that it extends, and apply `key=value` overrides.

    :param overrides: words such as `fit.steps=10` and `data.train.0.share=2`.

    :raises ConfigError: naming each wrong key, what was expected and what came.
    """
    raw = composed(path)
    for word in overrides:
        _override(raw, word)
    return validated(raw, str(path))


def validated(raw: Any, origin: str) -> Config:
    """
    Check plain values; `origin` names them in errors.

    :raises ConfigError: naming each wrong key, what was expected and what came.
    """
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f'{origin}: ' + '; '.join(problems(error))) from error


def printed(config: Config) -> str:
    """Give all settings as YAML, the defaults too."""
    text: str = yaml.safe_dump(json.loads(config.model_dump_json()), sort_keys=False,
                               allow_unicode=True, width=96, default_flow_style=None)
    return text


def _override(raw: dict[str, Any], word: str) -> None:
    key, equals, value = word.partition('=')
    if not equals or not key:
        raise ConfigError(f'override: expected key=value, such as fit.steps=100, got {word!r}')
    node: Any = raw
    *parents, leaf = key.split('.')
    try:
        parsed = yaml.safe_load(value)
        for parent in parents:
            node = _item(node, parent)
        if isinstance(node, list):
            node[int(leaf)] = parsed
        else:
            node[leaf] = parsed
    except yaml.YAMLError as error:
        raise ConfigError(f'override {word!r}: expected a YAML value after the =') from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise ConfigError(
            f'override {word!r}: expected the name of a setting, or the number of an entry from 0 '
            'in a list') from error


def _item(node: Any, key: str) -> Any:
    if isinstance(node, list):
        return node[int(key)]
    # A group that the file leaves out, or names without anything in it, has its defaults.
    if node.get(key) is None:
        node[key] = {}
    return node[key]
