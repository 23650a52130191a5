"""Where in a JSON file an entry is, for those who have to mend it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
import json
from pathlib import Path
import re

Key = str | int
"""A name in an object, or a number in a list."""
_BLANK = re.compile(r'[ \t\r\n]*')


class JsonFile:
    """A JSON file that has been read; it is looked into again only where an entry is wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._places: dict[tuple[Key, ...], dict[Key, int]] = {}

    def entry(self, *keys: Key) -> JsonEntry:
        """Return the place of an entry, such as `entry('annotations', 17)`."""
        return JsonEntry(self, keys)

    def line(self, keys: tuple[Key, ...]) -> int:
        """Return the line, from 1, that an entry begins in."""
        return self._text.count('\n', 0, self._offset(keys)) + 1

    @cached_property
    def _text(self) -> str:
        return self.path.read_text(encoding='utf-8')

    def _offset(self, keys: tuple[Key, ...]) -> int:
        if not keys:
            return self._skip(0)
        parent = keys[:-1]
        if parent not in self._places:
            self._places[parent] = dict(self._children(self._offset(parent)))
        return self._places[parent][keys[-1]]

    def _children(self, place: int) -> Iterator[tuple[Key, int]]:
        """Yield key and offset of what is in the object or list that begins at an offset."""
        decode = json.JSONDecoder().raw_decode
        named = self._text[place] == '{'
        number = 0
        place = self._skip(place + 1)
        while self._text[place] not in ']}':
            key: Key = number
            if named:
                key, place = decode(self._text, place)
                place = self._skip(self._skip(place) + 1)  # behind the colon
            yield key, place
            _, place = decode(self._text, place)
            place = self._skip(place)
            if self._text[place] == ',':
                place = self._skip(place + 1)
            number += 1

    def _skip(self, place: int) -> int:
        blank = _BLANK.match(self._text, place)
        return blank.end() if blank else place


@dataclass(frozen=True)
class JsonEntry:
    """The place of an entry; as text it is file, line and keys."""

    file: JsonFile
    keys: tuple[Key, ...]

    def __str__(self) -> str:
        words = ''.join(f'[{key}]' if isinstance(key, int) else f'.{key}' for key in self.keys)
        return f'{self.file.path}:{self.file.line(self.keys)}: {words.removeprefix(".")}'
