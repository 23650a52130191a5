"""What Autoware calls our classes."""

from __future__ import annotations

import pytest

from perception_ros.core.autoware import AUTOWARE_LABELS, CLASSES, label_numbers
from perception_ros.core.config import load_config
from perception_ros.core.errors import ConfigError


def labels(names: tuple[str, ...], *given: str) -> list[str]:
    return [AUTOWARE_LABELS[number] for number in label_numbers(names, given)]


def test_the_shipped_classes_have_labels() -> None:
    names = ('car', 'person', 'truck', 'bus', 'bicycle')
    assert labels(names) == ['car', 'pedestrian', 'truck', 'bus', 'bicycle']


def test_a_class_that_nobody_knows_is_unknown_not_left_out() -> None:
    """What stands on the road must reach the planner, whatever it is."""
    assert labels(('excavator',)) == ['unknown']


@pytest.mark.parametrize('name', ['Person sitting', 'person_sitting', 'PERSON-SITTING'])
def test_spelling_makes_no_difference(name: str) -> None:
    assert labels((name,)) == ['pedestrian']


def test_the_user_s_word_wins() -> None:
    assert labels(('tram', 'car'), 'Tram=bus', 'car = unknown') == ['bus', 'unknown']


def test_no_class_has_two_labels() -> None:
    names = [name for group in CLASSES.values() for name in group]
    assert len(names) == len(set(names))
    assert set(CLASSES) <= set(AUTOWARE_LABELS)


@pytest.mark.parametrize('text', ['tram', 'tram=', '=bus', 'tram=tram'])
def test_a_wrong_label_is_told_at_configure(text: str) -> None:
    with pytest.raises(ConfigError, match='autoware_labels.*expected class=label'):
        load_config({'autoware_labels': (text,)})


def test_some_interface_is_needed() -> None:
    with pytest.raises(ConfigError, match='interfaces: expected at least one'):
        load_config({'interfaces': ()})
