"""Which DDS domain is meant."""

from __future__ import annotations

import pytest

from perception_ros.core.errors import ConfigError
from perception_ros.ros.domain import chosen_domain


def test_the_environment_may_choose() -> None:
    assert chosen_domain({}) is chosen_domain({'ROS_DOMAIN_ID': ''}) is None
    assert [chosen_domain({'ROS_DOMAIN_ID': text}) for text in ('0', '232')] == [0, 232]


@pytest.mark.parametrize('text', ['abc', '-1', '233', '1.5', '²'])
def test_what_is_no_domain_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match='expected a number from 0 to 232, got '):
        chosen_domain({'ROS_DOMAIN_ID': text})
