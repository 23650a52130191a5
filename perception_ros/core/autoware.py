"""What Autoware calls our classes: a small table, and how a user changes it.

The numbers are those of `autoware_perception_msgs/ObjectClassification`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

AUTOWARE_LABELS = (
    'unknown', 'car', 'truck', 'bus', 'trailer', 'motorcycle', 'bicycle', 'pedestrian', 'animal',
    'hazard', 'over_drivable', 'under_drivable',
)
"""By number."""

CLASSES = {
    'car': ('car', 'van', 'taxi', 'autorickshaw'),
    'truck': ('truck', 'pickup', 'construction_vehicle'),
    'bus': ('bus',),
    'trailer': ('trailer', 'caravan'),
    'motorcycle': ('motorcycle', 'motorbike', 'motorcyclist', 'scooter'),
    'bicycle': ('bicycle', 'bike', 'cyclist', 'rider'),
    'pedestrian': ('pedestrian', 'person', 'people', 'person_sitting'),
    'animal': (
        'animal', 'bird', 'cat', 'dog', 'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra',
        'giraffe',
    ),
}
"""Label -> classes that have it unless the user says otherwise; all others are unknown."""

_BY_CLASS = {name: label for label, names in CLASSES.items() for name in names}


def read_labels(given: Iterable[str]) -> dict[str, str]:
    """Return class -> label, of texts such as 'tram=bus'.

    :raises ValueError: one is of another form, or names no label of Autoware's.
    """
    found = {}
    for text in given:
        name, equals, label = (part.strip() for part in text.partition('='))
        if not (name and equals) or label not in AUTOWARE_LABELS:
            raise ValueError(
                f'{text!r}: expected class=label, such as tram=bus, with one of the labels '
                f'{", ".join(AUTOWARE_LABELS)}'
            )
        found[_plain(name)] = label
    return found


def label_numbers(class_names: Sequence[str], given: Iterable[str] = ()) -> NDArray[np.uint8]:
    """Return Autoware's number for each class, uint8 [C].

    Upper case, spaces and hyphens make no difference.

    :param given: as for `read_labels`, which raises; they win over `CLASSES`.
    """
    labels = _BY_CLASS | read_labels(given)
    numbers = [AUTOWARE_LABELS.index(labels.get(_plain(name), 'unknown')) for name in class_names]
    return np.array(numbers, np.uint8)


def _plain(name: str) -> str:
    return name.lower().replace(' ', '_').replace('-', '_')
