"""The fusion node: a LiDAR and what the perception node says of the cameras, as a lifecycle node.

configure    reads the parameters and the calibration file, announces the topics
activate     subscribes, and begins to fuse
deactivate   unsubscribes, finishes the sweep in hand
cleanup      withdraws the topics

What happens to a sweep in between is `fusion/pipeline.py`; this file only wires it to ROS.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
import sys
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter

from perception_ros.core.errors import ConfigError
from perception_ros.fusion.config import FUSION, FusionConfig
from perception_ros.fusion.pipeline import FusedSweep, SweepPipeline
from perception_ros.fusion.threaded import ThreadedSweeps
from perception_ros.nodes.managed import ManagedNode, run
from perception_ros.ros.fused import FusedPublishers
from perception_ros.ros.fusion_health import FusionHealth
from perception_ros.ros.painted import PaintedPublishers
from perception_ros.ros.parameters import NodeParameters
from perception_ros.ros.sweeps import Results, SweepSubscriptions
from perception_ros.tracking.objects import ObjectTracker


class FusionNode(ManagedNode):
    """Paints points, gives boxes their place in space, and follows them."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('fusion_node', **node_options)
        self._declared = NodeParameters(self, FUSION)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._sweeps: ThreadedSweeps | None = None
        self._tracker: ObjectTracker | None = None
        self._objects: FusedPublishers | None = None
        self._points: PaintedPublishers | None = None
        self._health: FusionHealth | None = None
        self._inputs: SweepSubscriptions | None = None

    def _configure(self) -> None:
        self._config: FusionConfig = self._declared.load()
        if not self._config.cameras:
            raise ConfigError('there are no cameras: expected at least one name in camera_names')
        self._results = Results()
        self._objects = FusedPublishers(self, self._config)
        self._points = PaintedPublishers(self)
        self._sweeps = ThreadedSweeps(
            self._config, self._results.decode, self._publish, lambda: self._is_painted
        )
        for problem in self._sweeps.pipeline.calibration_problems:
            self.get_logger().warning(problem)
        self._health = FusionHealth(self, self._sweeps)

    def _start(self) -> None:
        assert self._sweeps and self._health
        self._tracker = ObjectTracker() if self._config.tracking else None
        self._sweeps.start()
        self._inputs = SweepSubscriptions(self, self._config, self._sweeps, self._results)
        self._health.start()
        self.get_logger().info(
            f'fusing {self._config.lidar.topic} with {", ".join(self._config.cameras)}; '
            '/diagnostics says what is missing'
        )

    def known(self) -> AbstractContextManager[SweepPipeline]:
        """Give what is known of the vehicle, while nobody else looks; the node is configured."""
        assert self._sweeps
        return self._sweeps.known()

    @property
    def _is_painted(self) -> bool:
        return bool(self._points and self._points.wanted)

    def _publish(self, fused: FusedSweep) -> None:
        assert self._objects and self._points
        self._points.publish(fused)
        if self._tracker is None:
            names = [ids[0] if ids else '' for ids in fused.ids]
            self._objects.publish(fused.objects, names)
            return
        placed = fused.placed
        tracks = self._tracker.update(
            fused.objects, fused.ids, placed.fixed_frame_id, placed.fixed_from_output
        )
        numbers = {int(index): int(number) for index, number in zip(
            tracks.objects, tracks.ids, strict=True,
        )}
        names = [str(numbers.get(index, '')) for index in range(len(fused.objects))]
        self._objects.publish(
            fused.objects, names, tracks, placed.fixed_from_output[:3, 3]
        )

    def _on_set_parameters(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Refuse what cannot change now."""
        return self._declared.judge(parameters, running=self._sweeps is not None)[0]

    def _stop(self) -> None:
        if self._inputs:
            self._inputs.destroy()
            self._inputs = None
        if self._health:
            self._health.stop()
        if self._sweeps:
            self._sweeps.stop()

    def _close(self) -> None:
        for part in (self._health, self._objects, self._points):
            if part:
                part.destroy()
        self._sweeps = self._objects = self._points = self._health = None


def main(args: list[str] | None = None) -> int:
    """Run the node."""
    return run(FusionNode, args)


if __name__ == '__main__':
    sys.exit(main())
