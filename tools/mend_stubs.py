"""Mend the published type stubs of TensorRT, so that mypy can check the backend against them.

They are generated, and mypy stops at what no Python would take: parameters named `in`, and one
without a default behind others with one. The module also has an object named `bool`, which hides
the type of every flag.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
import re

FOLDER = Path(__file__).resolve().parents[1] / '.mypy_cache' / 'stubs'
"""Where setup.cfg lets mypy look for the mended ones."""

_MENDS = (
    (r'\bin: list', 'in_: list'),
    (r'(= None, channel_axis: int)\)', r'\1 = ...)'),
    (r'\bbool\b(?!: DataType)', 'builtins.bool'),
    (r'^import typing$', 'import builtins\nimport typing'),
)


def mend(folder: Path = FOLDER) -> Path | None:
    """Write the installed stubs to `folder`, mended; None where they are not installed."""
    spec = find_spec('tensorrt_bindings')
    places = list(spec.submodule_search_locations or []) if spec else []
    source = Path(places[0]) / 'tensorrt.pyi' if places else None
    if source is None or not source.is_file():
        return None
    text = source.read_text(encoding='utf-8')
    for pattern, replacement in _MENDS:
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        if not count:
            raise ValueError(f'{source}: expected {pattern!r} somewhere; take the mend out')
    _write(folder / 'tensorrt_bindings' / 'tensorrt.pyi', text)
    for package in ('tensorrt', 'tensorrt_bindings'):
        init = source.parents[1] / package / '__init__.pyi'
        _write(folder / package / '__init__.pyi', init.read_text(encoding='utf-8'))
    return folder


def _write(path: Path, text: str) -> None:
    """Write a file unless it is there already: mypy reads a new one all over again."""
    if not path.is_file() or path.read_text(encoding='utf-8') != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    mended = mend()
    print(mended or 'tensorrt-stubs is not installed')
