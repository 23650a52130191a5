"""The demonstration's own labels: they lie on what its camera sees."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import replay_demo

from perception_ros.evaluation import open_dataset


def test_labels_move_with_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A photograph in which each labelled car is white and the rest black is found again."""
    known = json.loads(replay_demo.LABELS.read_text())
    photograph = np.zeros((580, 1068, 3), np.uint8)
    cars = [item['bbox'] for item in known['annotations'] if not item['iscrowd']]
    for x, y, width, height in cars:
        photograph[round(y):round(y + height), round(x):round(x + width)] = 255
    cv2.imwrite(str(tmp_path / 'photograph.png'), photograph)
    monkeypatch.setattr(replay_demo, 'PHOTOGRAPH', tmp_path / 'photograph.png')
    data = open_dataset(f'coco:{replay_demo.pan(tmp_path / "pictures")}')
    assert len(data.images) == replay_demo.FRAMES
    seen = 0
    for path in data.images:
        image = data.read(path).rgb()
        truth = data.truth(path, (image.shape[1], image.shape[0]))  # type: ignore[attr-defined]
        for box, is_crowd in zip(truth.boxes, truth.crowd, strict=True):
            if not is_crowd:
                x1, y1, x2, y2 = np.rint(box).astype(int)
                assert image[y1:y2, x1:x2].mean() > 220
                seen += 1
    assert seen > 200
