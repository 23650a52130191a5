"""The layouts for RViz and Foxglove: what they show is what the nodes publish."""

from __future__ import annotations

from collections.abc import Iterator
import json
from pathlib import Path
import re
from typing import Any

import numpy as np
import pytest
import yaml

from perception_ros.bundles.bundle import Bundle
from perception_ros.core import topics
from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.core.passage import STAGES
from perception_ros.fusion.types import Paint

ROOT = Path(__file__).parents[1]
CONFIG = read_parameter_file(ROOT / 'config' / 'perception.yaml')
NAMESPACE = '/perception'


def published() -> set[str]:
    """Return what both nodes publish with the shipped configuration."""
    outputs = {name: Bundle.load(name).manifest.outputs for name in CONFIG.models}
    names = {
        *topics.topic_names(CONFIG, outputs).values(),
        *(topics.overlay_topic(camera) for camera in CONFIG.cameras),
        topics.LATENCY, topics.HEALTH, *topics.FUSED,
    }
    return {f'{NAMESPACE}/{name}' for name in names} | {'/diagnostics'}


@pytest.fixture(scope='module')
def foxglove() -> dict[str, Any]:
    made: dict[str, Any] = json.loads((ROOT / 'config' / 'perception.foxglove.json').read_text())
    return made


@pytest.fixture(scope='module')
def rviz() -> dict[str, Any]:
    made: dict[str, Any] = yaml.safe_load((ROOT / 'config' / 'perception.rviz').read_text())
    return made


def texts(tree: object) -> Iterator[str]:
    """Yield every text of a layout, keys and values."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from texts(value)
    elif isinstance(tree, str):
        yield tree


def panels(layout: object) -> Iterator[str]:
    """Yield the panels that a tree of Foxglove's puts side by side."""
    if isinstance(layout, str):
        yield layout
        return
    assert isinstance(layout, dict)
    assert layout['direction'] in ('row', 'column')
    assert 0 < layout['splitPercentage'] < 100
    yield from panels(layout['first'])
    yield from panels(layout['second'])


def test_foxglove_puts_each_of_its_panels_somewhere(foxglove: dict[str, Any]) -> None:
    placed = list(panels(foxglove['layout']))
    assert sorted(placed) == sorted(foxglove['configById'])
    assert {name.partition('!')[0] for name in placed} == {
        '3D', 'Image', 'DiagnosticSummary', 'Plot'
    }


def test_foxglove_shows_what_is_published(foxglove: dict[str, Any]) -> None:
    named = {re.split(r'[.{[]', text)[0] for text in texts(foxglove) if text.startswith('/')}
    assert named <= published()
    assert {f'{NAMESPACE}/{topics.overlay_topic(camera)}' for camera in CONFIG.cameras} <= named
    assert f'{NAMESPACE}/{topics.HEALTH}' in named


def test_both_colour_points_by_a_field_that_painting_adds(
    foxglove: dict[str, Any], rviz: dict[str, Any]
) -> None:
    pytest.importorskip('rclpy', reason='needs rclpy')
    from perception_ros.ros.painted import paint_columns

    none = np.zeros(0, np.uint8)
    added = paint_columns(Paint(none, none.astype('f4'), none, none.astype('u2'), ()))
    shown = foxglove['configById']['3D!objects']['topics'][
        f'{NAMESPACE}/{topics.PAINTED_POINTS}'
    ]
    assert (shown['colorMode'], shown['colorField']) == ('rgb', 'rgb')
    displays = rviz['Visualization Manager']['Displays']
    [painted] = [
        display for display in displays
        if display.get('Topic', {}).get('Value', '').endswith(topics.PAINTED_POINTS)
    ]
    assert painted['Color Transformer'] == 'RGB8', 'which looks for a field rgb'
    assert 'rgb' in added


def test_foxglove_plots_latencies_that_there_are(foxglove: dict[str, Any]) -> None:
    """A path that names no status draws an empty plot and no error."""
    path = re.compile(r'.*/latency\.status\[:\]\{name=="(\w+)/(\w+)"\}.*\{key=="p95_ms"\}\.value')
    named = [
        found.groups() for text in texts(foxglove) if (found := path.fullmatch(text)) is not None
    ]
    assert {camera for camera, _ in named} == set(CONFIG.cameras)
    assert {stage for _, stage in named} == set(STAGES)


def test_rviz_shows_what_is_published(rviz: dict[str, Any]) -> None:
    displays = rviz['Visualization Manager']['Displays']
    named = {display['Topic']['Value'] for display in displays if 'Topic' in display}
    assert named <= published()
    assert {f'{NAMESPACE}/{topics.overlay_topic(camera)}' for camera in CONFIG.cameras} <= named
    assert {f'{NAMESPACE}/{topics.PAINTED_POINTS}', f'{NAMESPACE}/{topics.MARKERS}'} <= named


def test_rviz_has_its_displays_by_kind_and_name(rviz: dict[str, Any]) -> None:
    displays = rviz['Visualization Manager']['Displays']
    assert len({display['Name'] for display in displays}) == len(displays)
    assert {display['Class'] for display in displays} == {
        f'rviz_default_plugins/{kind}'
        for kind in ('Grid', 'TF', 'PointCloud2', 'MarkerArray', 'Image')
    }


def test_rviz_can_hear_what_it_shows(rviz: dict[str, Any]) -> None:
    """Our publishers are volatile: who asks for more than they offer gets nothing."""
    displays = rviz['Visualization Manager']['Displays']
    asked = [display['Topic'] for display in displays if 'Topic' in display]
    assert {topic['Durability Policy'] for topic in asked} == {'Volatile'}
