"""Objects and tracks over real DDS: each listener gets its own kind of message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip('rclpy', reason='needs rclpy')
pytest.importorskip('vision_msgs', reason='needs vision_msgs')

from sensor_msgs.msg import PointCloud2
from vision_msgs.msg import Detection3DArray, LabelInfo
from visualization_msgs.msg import MarkerArray

from perception_ros.core.config import InterfacesConfig
from perception_ros.ros.apart import NodeApart
from perception_ros.ros.domain import free_domain
from perception_ros.ros.fused import FusedPublishers, LABEL_QOS
from perception_ros.ros.qos import make_qos
from test.nodes.bench import wait_until
from test.ros.seen import NAMES, no_objects, objects, tracks
from test.ros.test_objects import read

pytestmark = pytest.mark.dds


class Planner(NodeApart):
    """Publishes and hears, both below /perception."""

    def __init__(self) -> None:
        super().__init__('planner', free_domain())
        self.node = self._node

    def listen(self, kind: Any, topic: str, qos: Any = None) -> list[Any]:
        heard: list[Any] = []
        qos = qos or make_qos('reliable', 10)
        self.node.create_subscription(kind, topic, heard.append, qos)
        publishers = [p for p in self.node.publishers if p.topic_name == f'/{topic}']
        wait_until(lambda: all(p.get_subscription_count() for p in publishers))
        return heard

    def hear(self, *heard: list[Any]) -> None:
        def spun() -> bool:
            self._executor.spin_once(timeout_sec=0.05)
            return all(heard)

        wait_until(spun)


@pytest.fixture
def planner() -> Iterator[Planner]:
    with Planner() as made:
        yield made


def test_each_listener_gets_its_own_kind(planner: Planner) -> None:
    made = FusedPublishers(planner.node, InterfacesConfig())
    assert not made.wanted
    boxes = planner.listen(Detection3DArray, 'objects')
    assert made.wanted
    table = planner.listen(PointCloud2, 'tracks')
    followed = planner.listen(Detection3DArray, 'tracks/boxes')
    markers = planner.listen(MarkerArray, 'markers')
    made.publish(objects(), ['7', ''], tracks())
    planner.hear(boxes, table, followed, markers)
    assert [d.id for d in boxes[0].detections] == ['7', '']
    assert [d.id for d in followed[0].detections] == ['7', str(2**32 + 5)]
    assert read(table[0])['id'].tolist() == [7, 5]
    assert '7 car 12 m 29 km/h' in [m.text for m in markers[0].markers]
    assert boxes[0].header == table[0].header == markers[0].markers[1].header


def test_class_ids_have_names_for_who_comes_late(planner: Planner) -> None:
    made = FusedPublishers(planner.node, InterfacesConfig())
    made.publish(objects(), None, tracks())
    labels = planner.listen(LabelInfo, 'tracks/label_info', LABEL_QOS)
    planner.hear(labels)
    assert [entry.class_name for entry in labels[0].class_map] == list(NAMES)


def test_without_tracking_the_objects_are_shown(planner: Planner) -> None:
    made = FusedPublishers(planner.node, InterfacesConfig())
    markers = planner.listen(MarkerArray, 'markers')
    made.publish(objects(), None)
    planner.hear(markers)
    assert len(markers[0].markers) == 5
    markers.clear()
    made.publish(no_objects(), None)
    planner.hear(markers)
    assert len(markers[0].markers) == 1


def test_autoware_gets_objects_and_tracks(planner: Planner) -> None:
    reason = 'needs the message packages of Autoware'
    types = pytest.importorskip('autoware_perception_msgs.msg', reason=reason)
    pytest.importorskip('tier4_perception_msgs', reason=reason)
    made = FusedPublishers(planner.node, InterfacesConfig(interfaces=('autoware',)))
    assert planner.node.count_publishers('/objects') == 0
    found = planner.listen(types.DetectedObjects, 'object_recognition/detection/objects')
    followed = planner.listen(types.TrackedObjects, 'object_recognition/tracking/objects')
    assert made.wanted
    made.publish(objects(), None, tracks())
    planner.hear(found, followed)
    assert len(found[0].objects) == len(followed[0].objects) == 2
    made.destroy()
    assert not [p for p in planner.node.publishers if 'object' in p.topic_name]
