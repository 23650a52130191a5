"""YAML files whose every word is checked: strict text, strict models, errors that name the key.

`PlainYaml` reads the text, a `Strict` model takes its values, and `problems` says what is wrong,
with the line where that is wanted; `read_strict` does all of it for a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, model_validator, ValidationError
import yaml

from perception_ros.core.errors import PerceptionError
from perception_ros.core.files import read_file

MOST_TEXT = 2**20
"""Bytes of a file: a hundred times what a long one has."""

Model = TypeVar('Model', bound=BaseModel)
Location = tuple[int | str, ...]
"""Keys and places in lists, from the outermost inwards."""


class _UnknownKeyError(ValueError):

    def __init__(self, key: Any, known: list[str]) -> None:
        close = get_close_matches(str(key), known, n=1)
        hint = f'did you mean {close[0]!r}?' if close else f'expected some of {known}'
        super().__init__(f'unknown key {key!r}: {hint}')
        self.key = key


class Strict(BaseModel):
    """A frozen model that knows all of its keys."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)

    @model_validator(mode='before')
    @classmethod
    def _refuse_unknown_keys(cls, value: Any) -> Any:
        """Name the key and what it may have meant; pydantic's own message does neither."""
        if isinstance(value, dict):
            for key in value:
                if key not in cls.model_fields:
                    raise _UnknownKeyError(key, list(cls.model_fields))
        return value


class PlainYaml:
    """The values in a text, and the lines where they stand."""

    def __init__(self, text: str) -> None:
        """
        Parse it.

        :raises ValueError: it is no YAML, or uses what `_PlainLoader` refuses.
        """
        try:
            loader = _PlainLoader(text)
            self._node = loader.get_single_node()
            self.values = None
            if self._node is not None:
                self.values = loader.construct_document(self._node)
        except RecursionError as error:
            raise ValueError('it is nested too deeply') from error
        except Exception as error:  # its constructors let through whatever they stumble over
            raise ValueError(' '.join(str(error).split())) from error

    def line(self, location: Location) -> int:
        """Return the line, from 1, of the innermost part of a location that the text has."""
        node, line = self._node, 0
        for part in location:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(part)), None)
                if pair:  # else it is a name that pydantic gives to one of several types
                    line, node = pair[0].start_mark.line, pair[1]
            elif isinstance(node, yaml.SequenceNode) and part in range(len(node.value)):
                node = node.value[part]
                line = node.start_mark.line
        return line + 1


def read_strict(
    path: Path, model: type[Model], what: str, refused: type[PerceptionError]
) -> Model:
    """Read a YAML file into a strict model.

    :param what: it should hold, for the error.
    :raises PerceptionError: of the type `refused`; it cannot be read, or says something wrong,
        with the line and key of each.
    """
    try:
        text = read_file(path, MOST_TEXT).decode('utf-8')
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise refused(f'{path}: expected a file of {what}; {reason}') from error
    try:
        content = PlainYaml(text)
    except ValueError as error:
        raise refused(f'{path}: expected {what} in YAML; {error}') from error
    if not isinstance(content.values, dict):
        keys = ', '.join(f'{key}:' for key in model.model_fields)
        raise refused(f'{path}: expected {what} below {keys}')
    try:
        return model.model_validate(content.values)
    except ValidationError as error:
        raise refused(f'{path}, ' + '; '.join(problems(error, content.line))) from error


def problems(
    error: ValidationError, line: Callable[[Location], int] | None = None
) -> Iterable[str]:
    """Yield one sentence a problem: the line and key, what was expected, what came.

    :param line: gives the line; None: it is not said.
    """
    for item in error.errors():
        place, about = item['loc'], item.get('ctx', {})
        if item['type'] in ('union_tag_invalid', 'union_tag_not_found'):
            place = *place, about['discriminator'].strip("'")
        key = '.'.join(str(part) for part in place)
        message = item['msg'].removeprefix('Value error, ')
        # pydantic says 'Input should be', 'String should match', 'Tuple should have'.
        message = re.sub(r'^\w+ should (be|match|have) ', 'expected ', message)
        if item['type'] in ('missing', 'union_tag_not_found'):
            said = f'{key}: expected this key, got none; add it'
        elif item['type'] == 'union_tag_invalid':
            said = f'{key}: expected one of {about["expected_tags"]}, got {about["tag"]!r}'
        elif item['type'] == 'value_error':
            said = f'{key}: {message}' if key else message
            if isinstance(about['error'], _UnknownKeyError):
                place = *place, about['error'].key
        else:
            came = item['input']
            shown = type(came).__name__ if isinstance(came, (dict, list)) else repr(came)
            shown = shown if len(shown) <= 80 else f'{shown[:77]}...'
            said = f'{key or "the document"}: {message}, got {shown}'
        yield f'line {line(place)}: {said}' if line else said


class _PlainLoader(yaml.SafeLoader):
    """YAML without what a hostile file could use.

    A key that comes twice is refused, where YAML would silently take the last one; so is an alias,
    because a few of them make a document of billions of values. Dates stay text.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012 - declared so by the base class
        first: [(tag, pattern) for tag, pattern in found if not tag.endswith(':timestamp')]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                None, None, f'alias *{event.anchor}: expected the value itself', event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f'key {key!r} comes twice', key_node.start_mark
                )
            seen.add(key if isinstance(key, str) else id(key_node))
        return super().construct_mapping(node, deep)
