"""Classes are matched by name and by nothing else."""

from __future__ import annotations

from perception_ros.evaluation.classes import match_classes, OTHER


def test_names_match_whatever_their_case_and_separators() -> None:
    common = match_classes(['Traffic_Light', 'motor-bike'], ['car', 'traffic light', 'motor bike'])
    assert common.names == ('traffic light', 'motor bike')
    assert common.of_data[:2].tolist() == [0, 1]
    assert common.of_model[:3].tolist() == [OTHER, 0, 1]


def test_what_has_no_partner_is_named() -> None:
    common = match_classes(['car', 'rickshaw'], ['bus', 'car'])
    assert common.names == ('car',)
    assert common.only_data == ('rickshaw',)
    assert common.only_model == ('bus',)
    assert (common.of_data[1:] == OTHER).all()


def test_a_part_of_a_name_is_no_match() -> None:
    assert not match_classes(['car'], ['cars', 'race car']).names
