"""Which classes a model and labelled data have in common: those of one name, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import re

import numpy as np
from numpy.typing import NDArray

OTHER = -1
"""Stands for every class that the other side does not know."""


@dataclass(frozen=True, slots=True, eq=False)
class CommonClasses:
    """The common classes, by the model's names and in its order.

    of_data, of_model: int64 [256], class id of the data, of the model -> index in `names`, or
    `OTHER`.
    """

    names: tuple[str, ...]
    of_data: NDArray[np.int64]
    of_model: NDArray[np.int64]
    only_data: tuple[str, ...]
    """Classes that the model does not know."""
    only_model: tuple[str, ...]
    """Classes that nothing is labelled as."""


def match_classes(data: Sequence[str], model: Sequence[str]) -> CommonClasses:
    """Match by name; upper case, spaces, hyphens and underscores make no difference."""
    data_keys, model_keys = [_key(name) for name in data], [_key(name) for name in model]
    common = [key for key in model_keys if key in data_keys]
    named = dict(zip(model_keys, model, strict=True))
    return CommonClasses(
        tuple(named[key] for key in common),
        _table(data_keys, common),
        _table(model_keys, common),
        tuple(dict.fromkeys(
            name for name, key in zip(data, data_keys, strict=True) if key not in common
        )),
        tuple(name for name, key in zip(model, model_keys, strict=True) if key not in common),
    )


def _table(keys: Sequence[str], common: Sequence[str]) -> NDArray[np.int64]:
    table = np.full(256, OTHER, np.int64)
    for i, key in enumerate(keys):
        if key in common:
            table[i] = common.index(key)
    return table


def _key(name: str) -> str:
    return re.sub(r'[\s_-]+', ' ', name.strip().lower())
