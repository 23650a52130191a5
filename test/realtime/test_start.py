"""The node's start is timed with the real node, over DDS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip('rclpy', reason='needs rclpy')

from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.demo.processes import DemoError
from perception_ros.realtime.start import measure_start
from test.builders import manifest, write_real_bundle
from test.cli.test_commands import call, CAPTURE

pytestmark = pytest.mark.dds


def write_parameters(folder: Path, backend: str, **cameras: str) -> Path:
    values = {
        'camera_names': list(cameras),
        'cameras': {name: {'transport': kind} for name, kind in cameras.items()},
        'model_names': ['means'],
        'models': {
            'means': {
                'bundle': str(write_real_bundle(folder / 'means').path), 'backend': backend
            }
        },
    }
    path = folder / 'cameras.yaml'
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
    return path


def test_a_start_is_timed_and_idling_costs_something(tmp_path: Path, capsys: CAPTURE) -> None:
    """Both kinds of cameras are served; the figures are those of one start."""
    config = write_parameters(tmp_path, 'fake', front='raw', rear='compressed')
    answer = tmp_path / 'start.json'
    assert call(
        'bench', 'start', '--config', str(config), '--rounds', '1', '--idle', '1',
        '--json', str(answer),
    ) == 0
    figures = json.loads(answer.read_text())['figures']
    first, engines, idle = figures.values()
    assert 0 < engines['median'] < first['median'] < 60
    assert 0 <= idle['median'] < 100
    assert 'process to first result' in capsys.readouterr().out


def test_a_node_that_cannot_start_is_told_of_with_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its engine cannot be opened: it stays unconfigured, and no result comes."""
    monkeypatch.setattr('perception_ros.realtime.start._PATIENCE_S', 4.0)
    config = write_parameters(tmp_path, 'no_such_backend', front='raw')
    with pytest.raises(DemoError, match='no result within 4 s') as raised:
        measure_start(
            config, read_parameter_file(config), {'means': manifest().outputs}, 1.0,
            tmp_path / 'log',
        )
    assert "backend 'no_such_backend'" in raised.value.details
