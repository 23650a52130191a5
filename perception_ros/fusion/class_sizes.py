"""How large the things on a road usually are: what a LiDAR that sees one side cannot say.

Rounded means and spreads of adult road users and vehicles in Europe and North America. They stand
in only for the dimensions that no point shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class ClassSize(NamedTuple):
    """Metres: length along the way it faces, width, height; and how far these vary."""

    length: float
    width: float
    height: float
    spread: float
    """Standard deviation as a share of each."""


_SIZES = MappingProxyType({
    'car': ClassSize(4.4, 1.8, 1.55, 0.10),
    'van': ClassSize(5.2, 2.0, 2.2, 0.15),
    'truck': ClassSize(7.5, 2.5, 3.0, 0.30),
    'construction_vehicle': ClassSize(6.5, 2.7, 3.1, 0.35),
    'caravan': ClassSize(6.0, 2.2, 2.6, 0.20),
    'bus': ClassSize(11.5, 2.6, 3.3, 0.20),
    'trailer': ClassSize(11.0, 2.5, 3.7, 0.25),
    'train': ClassSize(16.0, 2.6, 3.5, 0.30),
    'person': ClassSize(0.7, 0.65, 1.73, 0.08),
    'rider': ClassSize(1.8, 0.65, 1.75, 0.08),
    'bicycle': ClassSize(1.75, 0.6, 1.3, 0.15),
    'motorcycle': ClassSize(2.1, 0.8, 1.4, 0.12),
    'cone': ClassSize(0.4, 0.4, 0.8, 0.25),
    'barrier': ClassSize(0.6, 2.0, 1.0, 0.20),
})

_ALIASES = MappingProxyType({
    'pedestrian': 'person', 'person_sitting': 'person', 'cyclist': 'rider',
    'motorbike': 'motorcycle', 'bike': 'bicycle', 'tram': 'train', 'lorry': 'truck',
    'traffic_cone': 'cone',
})


def class_key(name: str) -> str:
    """Return what a class is called here, whatever a model or data set calls it."""
    plain = name.strip().lower().replace(' ', '_').replace('-', '_')
    return _ALIASES.get(plain, plain)


def class_sizes(names: Sequence[str]) -> NDArray[np.float64]:
    """Return the usual `ClassSize` of each class, float64 [N, 4]; NaN: it is not known."""
    unknown = (np.nan,) * len(ClassSize._fields)
    return np.array(
        [_SIZES.get(class_key(name), unknown) for name in names], np.float64
    ).reshape(-1, len(ClassSize._fields))
