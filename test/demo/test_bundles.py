"""Models of a demonstration: each has a name of its own, and a place that can be written."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')

from perception_ros.core.errors import ConfigError
from perception_ros.demo import run
from perception_ros.demo.references import import_reference
from test.builders import write_real_bundle


def test_two_folders_of_one_name_are_no_two_models(tmp_path: Path) -> None:
    places = tuple(str(write_real_bundle(tmp_path / parent / 'net').path) for parent in 'ab')
    options = run.DemoOptions(tmp_path, tmp_path, models=places)
    with pytest.raises(ConfigError, match="would both be model 'net'"):
        run._bundles(options, lambda doing: None)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / 'yolox_nano.onnx').touch()
    in_the_way = tmp_path / 'cache'
    in_the_way.touch()
    with pytest.raises(ConfigError, match='expected a folder to keep imported models in'):
        import_reference('yolox_nano', tmp_path, in_the_way / 'models', lambda doing: None)
