"""The running node as other stacks meet it: Autoware's messages on Autoware's topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import time
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('autoware_perception_msgs', reason='needs the message packages of Autoware')
pytest.importorskip('tier4_perception_msgs', reason='needs the message packages of Autoware')

from lifecycle_msgs.msg import Transition
from tier4_perception_msgs.msg import DetectedObjectsWithFeature
from vision_msgs.msg import Detection2DArray

from perception_ros.core.errors import ConfigError
from perception_ros.ros import autoware
from perception_ros.ros.messages import to_nanoseconds
from test.builders import write_real_bundle
from test.nodes.bench import Bench, image, RED, wait_until

pytestmark = pytest.mark.dds

ROIS = '/perception/object_recognition/detection/rois'


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(write_real_bundle(tmp_path / 'means').path)
    yield made
    made.close()


def test_autoware_gets_its_rois_by_the_number_of_the_camera(bench: Bench) -> None:
    bench.launch(
        'front', 'left', interfaces=['vision_msgs', 'autoware'],
        autoware_labels=['red=pedestrian'],
    )
    bench.active()
    rois = bench.listen(DetectedObjectsWithFeature, f'{ROIS}1')
    boxes = bench.listen(Detection2DArray, '/perception/left/detections')
    left = bench.camera('left')
    left.publish(image(7, 'left_optical'))
    wait_until(lambda: rois and boxes)
    [message], [twin] = rois, boxes
    assert message.header == twin.header
    assert (to_nanoseconds(message.header.stamp), message.header.frame_id) == (
        7 * 10**9, 'left_optical'
    )
    [item], [box] = message.feature_objects, twin.detections
    roi = item.feature.roi
    x1, y1, x2, y2 = RED
    edges = (roi.x_offset, roi.y_offset, roi.x_offset + roi.width, roi.y_offset + roi.height)
    assert edges == pytest.approx((x1, y1, x2, y2), abs=1)
    assert item.object.classification[0].label == 7
    assert item.object.existence_probability == pytest.approx(box.results[0].hypothesis.score)


def test_autoware_alone_is_reason_enough_to_infer(bench: Bench) -> None:
    """`lazy` looks at listeners: those of Autoware's topics count, and only their own camera."""
    bench.launch('front', 'left', interfaces=['autoware'])
    bench.active()
    rois = bench.listen(DetectedObjectsWithFeature, f'{ROIS}0')
    assert bench.me.count_publishers('/perception/front/detections') == 0
    cameras = [bench.camera('front'), bench.camera('left')]
    for camera in cameras:
        camera.publish(image(7))
    wait_until(lambda: rois)
    time.sleep(0.2)
    assert bench.node and bench.node._pipeline
    counters = bench.node._pipeline.statistics.snapshot()
    assert counters['frames_inferred'] == {'means': 1}
    assert counters['frames_dropped'] == {'unwanted': 1}


def test_without_autoware_configure_fails_and_leaves_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def missing() -> Any:
        raise ConfigError('interfaces names autoware')

    monkeypatch.setattr(autoware, 'check_installed', missing)
    bench.launch('front', interfaces=['autoware'])
    assert not bench.transition(Transition.TRANSITION_CONFIGURE)
    assert 'interfaces names autoware' in capfd.readouterr().err
    assert bench.node is not None
    assert not [p.topic_name for p in bench.node.publishers if 'front' in p.topic_name]
