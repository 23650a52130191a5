"""What a run must keep to: limits from a YAML file, held against its summary.

The file has a list `limits` of lines such as `mAP50 >= 0.4` and `frames_dropped.stale <= 1 %`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
import operator
from pathlib import Path
import re
from typing import Any
from xml.etree import ElementTree

from perception_ros.core.errors import ReplayError
from perception_ros.core.files import read_yaml

_COMPARE = {
    '>=': operator.ge, '<=': operator.le, '==': operator.eq, '>': operator.gt, '<': operator.lt,
}
_LIMIT = re.compile(r'(.+?)\s*(>=|<=|==|>|<)\s*([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)\s*(%?)')
_FRAMES = 'frames'
_SUGGESTED = 8
_NO_FIGURES = ('accuracy', 'environment', 'config', 'bag', 'engines')
"""Parts of a summary that no limits are made for, or that are searched of themselves."""


@dataclass(frozen=True, slots=True)
class Limit:
    """One line of the file."""

    text: str
    key: str
    """Dotted path in the summary, or in what it says of the only model that has such a figure."""
    sign: str
    bound: float
    is_percent: bool

    @classmethod
    def parse(cls, text: str) -> Limit:
        """Read 'KEY SIGN NUMBER', the number perhaps in percent.

        :raises ReplayError: it is something else.
        """
        if not (found := _LIMIT.fullmatch(text.strip())):
            raise ReplayError(
                f'limit {text!r}: expected KEY SIGN NUMBER, such as mAP50 >= 0.4 or '
                f'frames_dropped.stale <= 1 %, with a sign of {" ".join(_COMPARE)}'
            )
        key, sign, bound, percent = found.groups()
        return cls(text.strip(), key, sign, float(bound), bool(percent))


@dataclass(frozen=True, slots=True)
class Check:
    """A limit and what came."""

    limit: Limit
    value: float | None
    """In the limit's unit; None where nothing was measured, which no limit allows."""

    @property
    def is_kept(self) -> bool:
        """Whether the value is as the limit wants it."""
        compare = _COMPARE[self.limit.sign]
        return self.value is not None and bool(compare(self.value, self.limit.bound))

    def __str__(self) -> str:
        """Say in one line what was wanted, what came, and by how much that is off."""
        if self.value is None:
            return f'{self.limit.text}: nothing was measured'
        unit = ' %' if self.limit.is_percent else ''
        off = abs(self.value - self.limit.bound)
        verdict = 'kept' if self.is_kept else f'broken by {off:.4g}{unit}'
        return f'{self.limit.text}: {self.value:.4g}{unit}, {verdict}'

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON."""
        return {'limit': self.limit.text, 'value': self.value, 'is_kept': self.is_kept}


def read_limits(path: Path) -> tuple[Limit, ...]:
    """Read a file of limits.

    :raises ReplayError: it cannot be read, or is none.
    """
    content = read_yaml(path, 'limits', ReplayError)
    lines = content.get('limits') if isinstance(content, dict) else None
    if not isinstance(lines, list) or not all(isinstance(line, str) for line in lines):
        raise ReplayError(
            f'{path}: expected a list of lines below limits:, such as mAP50 >= 0.4'
        )
    try:
        return tuple(Limit.parse(line) for line in lines)
    except ReplayError as error:
        raise ReplayError(f'{path}: {error}') from error


def check(limits: Sequence[Limit], summary: Mapping[str, Any]) -> list[Check]:
    """Hold limits against a summary.

    :raises ReplayError: a key is none of its figures, or of several models.
    """
    return [Check(limit, _value(limit, summary)) for limit in limits]


def as_junit(checks: Sequence[Check], name: str) -> str:
    """Return the checks as JUnit XML, one test case a limit."""
    broken = [item for item in checks if not item.is_kept]
    suite = ElementTree.Element(
        'testsuite', name='perception_ros replay', tests=str(len(checks)),
        failures=str(len(broken)), errors='0', skipped='0',
    )
    for item in checks:
        case = ElementTree.SubElement(
            suite, 'testcase', classname=name, name=item.limit.text, time='0'
        )
        if not item.is_kept:
            ElementTree.SubElement(case, 'failure', message=str(item)).text = str(item)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding='unicode', xml_declaration=True) + '\n'


def _value(limit: Limit, summary: Mapping[str, Any]) -> float | None:
    found = look_up(limit.key, summary)
    places = [''] if found else []
    if not found:
        models = {
            name: hit for name, figures in summary.get('accuracy', {}).items()
            if (hit := look_up(limit.key, figures))
        }
        places, found = list(models), next(iter(models.values()), [])
    if len(places) > 1:
        options = ', '.join(f'accuracy.{name}.{limit.key}' for name in places)
        raise ReplayError(
            f'limit {limit.text!r}: several models have {limit.key}; say which: {options}'
        )
    if not found:
        known = _paths({**summary, **_first(summary.get('accuracy', {}))})
        raise ReplayError(
            f'limit {limit.text!r}: the summary has no figure {limit.key}; expected one such as '
            f'{", ".join(_nearest(limit.key, known))}, or another of summary.json'
        )
    value = found[0]
    if value is None or not limit.is_percent:
        return value
    if limit.key.startswith(_FRAMES):
        whole = sum(summary[_FRAMES].values())
        return 100.0 * value / whole if whole else None
    return 100.0 * value


def _nearest(key: str, known: Sequence[str]) -> list[str]:
    """Return the keys that somebody may have meant: of most words in common, then most alike."""
    words = set(key.split('.'))
    alike = SequenceMatcher(b=key)

    def likeness(name: str) -> tuple[int, float]:
        alike.set_seq1(name)
        return len(words & set(name.split('.'))), alike.ratio()

    return sorted(known, key=likeness, reverse=True)[:_SUGGESTED]


def look_up(key: str, tree: Any) -> list[float | None]:
    """Return the figure at a dotted path, in a list that is empty where there is none."""
    tree = _by_name(tree)
    if isinstance(tree, Mapping):
        if key in tree:
            value = tree[key]
            return [value] if value is None or isinstance(value, (int, float)) else []
        # names of classes may hold dots themselves
        for name, inner in tree.items():
            if key.startswith(f'{name}.') and (hit := look_up(key[len(name) + 1 :], inner)):
                return hit
    return []


def _by_name(tree: Any) -> Any:
    """Return a list of things that have names, such as faults, as a mapping."""
    if not isinstance(tree, list) or not all(isinstance(item, Mapping) for item in tree):
        return tree
    return {item['name']: item for item in tree if 'name' in item}


def _first(models: Mapping[str, Any]) -> Mapping[str, Any]:
    return next(iter(models.values()), {})


def _paths(tree: Mapping[str, Any], start: str = '') -> list[str]:
    """Return the paths of the figures that limits are made for."""
    found = []
    for name, value in tree.items():
        if (start == '' and name in _NO_FIGURES) or name in ('models', 'window', 'settings'):
            continue
        value = _by_name(value)
        if isinstance(value, Mapping):
            found += _paths(value, f'{start}{name}.')
        elif isinstance(value, (int, float)):
            found.append(f'{start}{name}')
    return found
