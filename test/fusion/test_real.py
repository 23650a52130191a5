"""Lenses and frames of real vehicles, from the messages of a bag to labels that people drew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perception_ros.bags import messages
from perception_ros.bags.bag import Bag, open_bag
from perception_ros.bags.messages import stamp_ns
from perception_ros.core.poses import inverse
from perception_ros.fusion.camera_info import camera_model
from perception_ros.fusion.transforms import TransformTree
from perception_ros.recording import record, RecordOptions
from test.bundles.shared import shared

BOXES_3D = '/ground_truth/detections_3d'


def every(bag: Bag, topic: str) -> list[Any]:
    return [bag.decode(message) for message in bag.messages([topic])]


def tree_of(bag: Bag) -> TransformTree:
    tree = TransformTree()
    for topic in ('/tf_static', '/tf'):
        for message in every(bag, topic) if topic in bag.topics else ():
            for tf in message.transforms:
                tree.add(
                    tf.header.frame_id, tf.child_frame_id, stamp_ns(tf.header),
                    messages.matrix_of(tf.transform), is_static=topic == '/tf_static',
                )
    return tree


@pytest.mark.parametrize(('kind', 'lidar', 'fixed'), [
    ('nuscenes', '/LIDAR_TOP/points', 'map'),
    ('kitti', '/velodyne/points', 'base_link'),
])
def test_points_on_labelled_objects_land_in_their_boxes_in_the_image(
    tmp_path: Path, kind: str, lidar: str, fixed: str
) -> None:
    """All conventions at once: optical frames, whose transform is whose, and motion meanwhile."""
    record(f'{kind}:{shared(f"{kind}_sample")}', tmp_path / 'a.mcap', RecordOptions(frames=1))
    with open_bag(tmp_path / 'a.mcap') as bag:
        tree = tree_of(bag)
        sweep = every(bag, lidar)[0]
        points = messages.points_of(sweep)
        cloud = np.stack([points['x'], points['y'], points['z']], axis=1)
        solid = every(bag, BOXES_3D)[0]
        views = [
            (every(bag, topic)[0], every(bag, topic.replace(
                '/camera_info', '/ground_truth/detections'))[0])
            for topic in bag.topics if topic.endswith('/camera_info')
        ]
    seen_points = hit = 0
    for info, flat in views:
        camera_from_lidar = tree.lookup_between(
            info.header.frame_id, stamp_ns(info.header),
            sweep.header.frame_id, stamp_ns(sweep.header), fixed,
        )
        seen = camera_model(info).see(cloud, camera_from_lidar)
        boxes, names = messages.boxes_of(flat)
        for box in messages.boxes_3d_of(solid):
            to_box = inverse(box.pose) @ tree.lookup(
                solid.header.frame_id, sweep.header.frame_id, stamp_ns(sweep.header))
            own = cloud[seen.indices] @ to_box[:3, :3].T + to_box[:3, 3]
            pixels = seen.pixels[(np.abs(own) <= np.array(box.size_m) / 2).all(axis=1)]
            same = boxes[[name == box.name for name in names]]
            inside = (pixels[:, None] >= same[:, :2] - 1) & (pixels[:, None] <= same[:, 2:] + 1)
            seen_points += len(pixels)
            both = np.count_nonzero(inside, axis=2).max(axis=1, initial=0) == 2
            hit += int(both.sum())
    assert seen_points > 300
    assert hit > 0.97 * seen_points
