"""docs/interfaces.md: others write their code by it, so it must be what the nodes do."""

from __future__ import annotations

from pathlib import Path
import re

import numpy as np
import pytest

from perception_ros.core import topics
from perception_ros.core.autoware import CLASSES

TEXT = (Path(__file__).parents[1] / 'docs' / 'interfaces.md').read_text()


@pytest.mark.parametrize('topic', topics.FUSED)
def test_every_topic_of_the_fusion_is_there(topic: str) -> None:
    assert f'| `{topic}` |' in TEXT


def test_the_labels_of_autoware_are_there() -> None:
    for label, names in CLASSES.items():
        assert f'| `{label}` | {", ".join(names)} |' in TEXT


def test_the_table_of_tracks_is_there_and_its_three_lines_read_it() -> None:
    pytest.importorskip('rclpy', reason='needs rclpy')
    from perception_ros.ros.autoware import DETECTED_OBJECTS, ROIS, TRACKED_OBJECTS
    from perception_ros.ros.objects import to_table, TRACK_TYPE

    section = TEXT[TEXT.index('## Tracks as a table') : TEXT.index('## Autoware')]
    rows = re.findall(r'^\| ((?:`\w+`(?:, )?)+) \|', section, re.MULTILINE)
    documented = [name for row in rows for name in re.findall(r'\w+', row)]
    assert tuple(documented) == TRACK_TYPE.names
    code = ''.join(
        line.strip() + '\n' for line in section.splitlines() if line.startswith('    ')
    )
    sent = np.ones(3, TRACK_TYPE)
    sent['vx'] = [1.0, -2.0, 3.0]
    known = {'numpy': np, 'message': to_table(1, 'lidar', sent)}
    exec(code, known)
    assert known['tracks'].tobytes() == sent.tobytes()
    for topic in (DETECTED_OBJECTS, TRACKED_OBJECTS, f'{ROIS}<N>'):
        assert f'| `{topic}` |' in TEXT
