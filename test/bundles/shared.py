"""Data and models that lie beside the checkout, and bundles imported from them once a run."""

from __future__ import annotations

from functools import cache
from pathlib import Path
import tempfile

import pytest

from perception_ros.bundles import Bundle
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.options import HeadOptions, ImportOptions

SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'data'


def shared(*parts: str) -> Path:
    """Return a path below the shared folder, or skip the test."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f'no ../shared/data/{"/".join(parts)} beside the checkout')
    return path


@cache
def _folder() -> Path:
    # The object lives as long as the process; it takes the folder with it.
    _folder.keep = tempfile.TemporaryDirectory(prefix='bundles-')  # type: ignore[attr-defined]
    return Path(_folder.keep.name)  # type: ignore[attr-defined]


def _options(name: str) -> ImportOptions:
    if name == 'twinlitenet':
        return ImportOptions(heads={
            'drivable': HeadOptions('da', ('background', 'drivable')),
            'lane': HeadOptions('ll', ('background', 'lane')),
        })
    return ImportOptions()


def yolox() -> Bundle:
    """Return the imported YOLOX."""
    return _import('yolox_nano', 'yolox')


def twinlitenet() -> Bundle:
    """Return the imported TwinLiteNet."""
    return _import('twinlitenet', 'semantic')


@cache
def _import(name: str, family: str) -> Bundle:
    source = shared('models', f'{name}.onnx')
    return import_model(source, _folder() / name, family=family, options=_options(name))
