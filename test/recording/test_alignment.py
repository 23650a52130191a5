"""How the calibration check is measured: what is counted, and that the truth is not refuted."""

from __future__ import annotations

from perception_ros.fusion.alignment import Search
from perception_ros.recording.alignment import INJECTED_DEG, measure
from test.bundles.shared import shared


def test_it_counts_each_error_about_each_axis() -> None:
    """Few and coarse rotations: the figures of docs/calibration.md take minutes."""
    found = measure([shared('kitti_sample')], Search(reach_deg=2.0, step_deg=0.5))
    assert all(item.agrees + item.refuted + item.unclear == item.n for item in found)
    rows = {(item.name, item.axis, item.error_deg): item for item in found}
    others = rows['another place', '', None]
    assert (others.n, others.agrees) == (6, 0)
    for name, groups in (('one image', 3), ('all of a camera', 1)):
        assert rows[name, '', 0.0].n == groups
        assert rows[name, '', 0.0].refuted == 0
        for axis in ('roll', 'pitch', 'yaw'):
            assert [rows[name, axis, error].n for error in INJECTED_DEG] == [2 * groups] * 4
    yaw = rows['all of a camera', 'yaw', 1.0]
    assert (yaw.refuted, yaw.right) == (2, 2)
