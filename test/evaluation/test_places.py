"""An entry of a JSON file is named by its line, as an editor counts them."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given, settings, strategies
import pytest

from perception_ros.evaluation.datasets.places import JsonFile

TEXT = """
{"info": {"a": [1, 2]},
 "empty": [], "annotations": [
  {"id": 1, "bbox": [1, 2, 3, 4]},
  {"id": 2,
   "text": "] } , \\" {"}, {"id": 3},

  {"id": 4}
 ]}
"""


@pytest.mark.parametrize(('keys', 'said'), [
    (('info', 'a', 1), '2: info.a[1]'),
    (('annotations', 0), '4: annotations[0]'),
    (('annotations', 1), '5: annotations[1]'),
    (('annotations', 1, 'text'), '6: annotations[1].text'),
    (('annotations', 2), '6: annotations[2]'),
    (('annotations', 3), '8: annotations[3]'),
])
def test_an_entry_is_named_by_its_line(
    tmp_path: Path, keys: tuple[str | int, ...], said: str
) -> None:
    path = tmp_path / 'a.json'
    path.write_text(TEXT)
    assert str(JsonFile(path).entry(*keys)) == f'{path}:{said}'


VALUES = strategies.recursive(
    strategies.none() | strategies.floats(allow_nan=False) | strategies.text(),
    lambda each: strategies.lists(each, max_size=4) | strategies.dictionaries(
        strategies.text(), each, max_size=4), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(before=strategies.lists(VALUES, max_size=4), indent=strategies.sampled_from([None, 1]))
def test_whatever_stands_before_it(
    tmp_path_factory: pytest.TempPathFactory, before: list[object], indent: int | None
) -> None:
    path = tmp_path_factory.mktemp('json') / 'a.json'
    text = json.dumps({'x': before, 'y': [*before, 'found']}, indent=indent)
    path.write_text(text)
    line = JsonFile(path).line(('y', len(before)))
    assert '"found"' in text.split('\n')[line - 1]
