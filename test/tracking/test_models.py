"""A configuration asks for tracks, and the models that come of it name their boxes."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest

from perception_ros.backends.configured import open_model
from perception_ros.core.config import load_config, PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.tracking.images import track_id
from test.builders import fake_bundle, frame, write_real_bundle


def configured(folder: Path, **values: Any) -> PerceptionConfig:
    """Return a configuration with a model whose box 0 is as sure as a picture is red."""
    write_real_bundle(folder / 'means')
    return load_config({
        'cameras': {'front': {}}, 'backend': 'onnxruntime',
        'models': {'means': {'bundle': str(folder / 'means'), **values}},
    })


def ids(config: PerceptionConfig) -> list[tuple[str, ...]]:
    """Return what the boxes of five red pictures are called."""
    model = open_model('means', config, ignore={})
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    try:
        named = []
        for number in range(5):
            result, = model.infer([frame(stamp_ms=1000 + 33 * number, pixels=red)])
            assert result.detections is not None
            assert len(result.detections) == 1
            named.append(result.detections.ids)
        return named
    finally:
        model.engine.close()


def test_a_model_names_its_boxes(tmp_path: Path) -> None:
    """Through a real engine; and a second run gives the same names, as a replay must."""
    config = configured(tmp_path, tracking='bytetrack')
    named = ids(config)
    assert named == [('',)] + [(track_id('front', 1),)] * 4
    assert ids(config) == named


def test_nothing_is_named_unless_asked(tmp_path: Path) -> None:
    assert ids(configured(tmp_path)) == [()] * 5


def test_a_model_without_boxes_has_nothing_to_follow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(tmp_path, tracking='bytetrack')
    bundle = fake_bundle(detection=None)
    monkeypatch.setattr('perception_ros.backends.configured.Bundle.load', lambda path: bundle)
    with pytest.raises(ConfigError, match='finds no boxes'):
        open_model('means', config, ignore={})


def test_a_missing_library_is_told_before_an_engine_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may take minutes, and would have to be closed again."""
    monkeypatch.setitem(sys.modules, 'trackers', None)
    config = configured(tmp_path, tracking='bytetrack')
    monkeypatch.setattr('perception_ros.backends.configured.open_engine', None)
    with pytest.raises(ConfigError, match=r'pip install perception_ros\[tracking\]'):
        open_model('means', config, ignore={})
