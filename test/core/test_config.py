"""A configuration that cannot work is refused with the key, what was expected and what came."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
import pytest

from perception_ros.core.config import CameraConfig, load_config
from perception_ros.core.errors import ConfigError
from perception_ros.core.parameters import is_live, PERCEPTION


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ({'cameras': {'a': {'topik': '/x'}}}, ['cameras.a.topik', 'unknown parameter']),
        ({'cameras': {'a': {'priority': 0}}}, ['cameras.a.priority', 'greater than', 'got 0']),
        ({'cameras': {'a b': {}}}, ["'a b'", 'letters, digits']),
        ({'cameras': {'a\n': {}}}, ["'a\\n'", 'letters, digits']),
        ({'cameras': {'a': {'topic': '/t\n'}}}, ['cameras.a.topic', 'topic name']),
        ({'cameras': {'a': {}}, 'models': {'m': {'cameras': ('z',)}}}, ["'m'", "['z']", "['a']"]),
        ({'synchronizer': {'policy': 'magic'}}, ['synchronizer.policy', 'deadline', "'magic'"]),
        ({'max_age_ms': float('nan')}, ['max_age_ms']),
        (
            {'models': {'m': {'backend': 'openvino', 'fallback': 'openvino'}}},
            ["'m'", "fallback 'openvino'", 'would fail again'],
        ),
        ({'backend': 'fake', 'models': {'m': {'fallback': 'fake'}}}, ["'m'", 'would fail again']),
        ({'models': {'m': {'fallback': 'auto'}}}, ["'m'", 'expected the name of a backend']),
        ({'models': {'m': {'build': 'background'}}}, ["'m'", 'no fallback']),
        ({'models': {'m': {'max_queue_delay_ms': 500}}}, ["'m'", 'less than max_age_ms, 500']),
    ],
    ids=[
        'unknown', 'range', 'name', 'name with a newline', 'topic with a newline',
        'unknown camera', 'choice', 'nan',
        'fallback to itself', 'fallback to the common backend', 'fallback to whatever',
        'nobody serves meanwhile', 'held back until stale',
    ],
)
def test_it_says_what_is_wrong(values: dict[str, Any], says: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(values)
    for part in says:
        assert part in str(error.value)


def test_a_fallback_may_be_the_same_backend_on_another_device() -> None:
    model = {'backend': 'onnxruntime', 'fallback': 'onnxruntime', 'fallback_device': 'cpu'}
    assert load_config({'models': {'m': model}}).models['m'].fallback_device == 'cpu'


def test_it_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_config({}).max_age_ms = 3.0  # type: ignore[misc]


def test_default_topics_follow_the_conventions_of_image_transport() -> None:
    assert CameraConfig().topic_for('front') == '/front/image_raw'
    assert CameraConfig(transport='compressed').topic_for('front') == '/front/image_raw/compressed'
    assert CameraConfig(topic='/x').topic_for('front') == '/x'


def test_thresholds_go_from_the_special_to_the_general() -> None:
    config = load_config(
        {
            'cameras': {'a': {'score_threshold': 0.9}, 'b': {}},
            'models': {'m': {'score_threshold': 0.5}, 'n': {}},
        }
    )
    assert config.score_threshold('a', 'm', of_bundle=0.3) == 0.9
    assert config.score_threshold('b', 'm', of_bundle=0.3) == 0.5
    assert config.score_threshold('b', 'n', of_bundle=0.3) == 0.3


def _one_of_each() -> dict[str, FieldInfo]:
    return PERCEPTION.fields({'camera_names': ['c'], 'model_names': ['m']})


def test_what_is_live_is_what_the_node_can_really_change() -> None:
    """A parameter marked live that takes no effect would be a lie; here is the list to look at."""
    live = {name for name, field in _one_of_each().items() if is_live(field)}
    assert live == {
        'cameras.c.score_threshold',
        'models.m.score_threshold',
        'overlay.enabled',
        'overlay.mask_opacity',
        'overlay.jpeg_quality',
        'overlay.max_width_px',
        'max_age_ms',
        'lazy',
    }
