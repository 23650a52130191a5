"""The summary, and what makes a demonstration fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception_ros.demo.harvest import FrameKey, Harvest
from perception_ros.demo.references import DETECTOR
from perception_ros.demo.summary import faults, summarise

BOX = np.array([0.0, 0.0, 10.0, 10.0])


def _model(name: str, backend: str) -> dict[str, Any]:
    return {'name': name, 'backend': backend, 'device': 'cpu', 'precision': 'fp32'}


def _summary(folder: Path, received: int = 4, detections: int = 5) -> dict[str, Any]:
    played = {
        'input': 'still.png',
        'rate_hz': 2.0,
        'problems': [],
        'cameras': {'front': {'published': 4}, 'rear': {'published': 4}},
    }
    found = {'car': detections} if detections else {}
    counted = {
        'frames_received': {'front': 4, 'rear': received},
        'frame_sets': 4,
        'frames_inferred': {'roadscene': 8, DETECTOR: 6},
        'engine_calls': {'roadscene': 4, DETECTOR: 3},
        'frames_dropped': {'superseded': 2},
        'detections': {'roadscene': found, DETECTOR: found},
        'latency_ms': {'p50': 1.0, 'p95': 2.0, 'p99': 3.0, 'max': 4.0},
        'latency_ms_by_stage': {},
        'models': [_model('roadscene', 'onnxruntime 1'), _model(DETECTOR, 'onnxruntime 1')],
    }
    harvest = Harvest(folder)
    for model, names in {'roadscene': ['car'], DETECTOR: ['car', 'car']}.items():
        key = FrameKey('front', 1)
        harvest.add_boxes(model, key, [(name, BOX + 50 * i) for i, name in enumerate(names)])
    harvest.add_picture(FrameKey('front', 1), b'jpeg')
    return summarise(played, counted, harvest, 42)


def test_it_holds_what_is_promised(tmp_path: Path) -> None:
    summary = _summary(tmp_path)
    assert summary['cameras'] == ['front', 'rear']
    assert summary['frames_published'] == summary['frames_received'] == 8
    assert (summary['frame_sets'], summary['frames_inferred']) == (4, 14)
    assert summary['frames_dropped'] == {'superseded': 2}
    assert summary['detections'] == {'car': 5}, 'two models that see a car do not make two cars'
    assert set(summary['latency_ms']) == {'p50', 'p95', 'p99', 'max'}
    assert (summary['backend'], summary['precision']) == ('onnxruntime 1', 'fp32')
    assert [model['name'] for model in summary['models']] == ['roadscene', DETECTOR]
    assert summary['comparison'] == {
        'reference': DETECTOR,
        'model': 'roadscene',
        'class': 'car',
        'iou': 0.5,
        'frames': 1,
        'found_by_reference': 2,
        'of_these_found_by_model': 1,
        'share': 0.5,
    }
    assert summary['hardware']['cores']
    assert 'opencv' in summary['versions']


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        pytest.param({}, None, id='all is well'),
        pytest.param({'received': 3}, 'frames were lost', id='a frame was lost'),
        pytest.param({'detections': 0}, 'nothing was detected', id='nothing detected'),
    ],
)
def test_faults(tmp_path: Path, changes: dict[str, int], message: str | None) -> None:
    found = faults(_summary(tmp_path, **changes))
    assert len(found) == (message is not None)
    assert message is None or message in found[0]
