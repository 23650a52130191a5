"""Results out: one publisher for each output of each camera and model, and who listens to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CompressedImage, Image
from vision_msgs.msg import Detection2DArray, LabelInfo

from perception_ros.core.composer import Composer
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.model import Model
from perception_ros.core.overlay import draw_results, Palette
from perception_ros.core.topics import overlay_topic, topic_names
from perception_ros.core.types import Detections, Result
from perception_ros.ros.autoware import RoiPublishers
from perception_ros.ros.messages import to_header, to_jpeg, to_label_info
from perception_ros.ros.qos import make_qos
from perception_ros.ros.rcl import publish
from perception_ros.ros.serialise import (
    serialise_detections,
    serialise_instances,
    serialise_semantic,
)

RESULT_QOS = make_qos('reliable', 5)
LABEL_QOS = make_qos('reliable', 1, 'transient_local')


class ResultPublishers:
    """The publishers of one pipeline; `destroy` ends them.

    `config` may be exchanged while the pipeline runs: overlay and `lazy` follow it at once.
    """

    def __init__(
        self, node: LifecycleNode, config: PerceptionConfig, models: Mapping[str, Model]
    ) -> None:
        self.config = config
        self._node = node
        self._models = models
        self._palettes = {name: Palette.of(model.manifest) for name, model in models.items()}
        self._rois: RoiPublishers | None = None
        if 'autoware' in config.interfaces:  # first: where it is not installed nothing is made
            self._rois = RoiPublishers(node, config.cameras, config.autoware_labels)
        self._detectors: dict[str, str] = {}
        """Of each camera the model whose boxes Autoware gets, the first: it knows of one alone."""
        self._publishers: dict[tuple[str, str, str], Any] = {}
        self._labels = []
        outputs = {name: model.outputs for name, model in models.items()}
        for key, topic in topic_names(config, outputs).items():
            camera, model, output = key
            if output == 'detections':
                self._detectors.setdefault(camera, model)
            if output == 'detections' and 'vision_msgs' not in config.interfaces:
                continue
            kind = Detection2DArray if output == 'detections' else Image
            self._publishers[key] = node.create_publisher(kind, topic, RESULT_QOS)
            if output.startswith('semantic/'):
                label_publisher = node.create_publisher(
                    LabelInfo, f'{topic}/label_info', LABEL_QOS
                )
                head = models[model].manifest.semantic[output.removeprefix('semantic/')]
                names = [c.name for c in head.classes]
                header = to_header(node.get_clock().now().nanoseconds, '')
                label_publisher.publish(to_label_info(header, names))
                self._labels.append(label_publisher)
        self._overlays = {
            camera: node.create_publisher(CompressedImage, overlay_topic(camera), RESULT_QOS)
            for camera in config.cameras
        }
        self._composer = Composer(
            {c: sum(c in config.cameras_of(m) for m in config.models) for c in config.cameras}
        )

    def destroy(self) -> None:
        """Withdraw all topics."""
        if self._rois:
            self._rois.destroy()
        for publisher in (*self._publishers.values(), *self._labels, *self._overlays.values()):
            self._node.destroy_publisher(publisher)

    def wanted(self, camera: str, model: str) -> frozenset[str]:
        """Return the outputs of a model that somebody listens to for a camera."""
        outputs = self._models[model].outputs
        if not self.config.lazy or self._overlay_wanted(camera):
            return outputs
        return frozenset(
            output
            for output in outputs
            if self._is_heard(camera, model, output)
            or (output == 'detections' and self._rois_wanted(camera, model))
        )

    def publish(self, result: Result) -> None:
        """Publish what the result holds, under its frame's header."""
        if result.detections is not None:
            self._send(result, 'detections', serialise_detections, result.detections)
            self._publish_rois(result, result.detections)
        if result.instances is not None:
            self._send(result, 'instances', serialise_instances, result.instances)
        for head, mask in result.semantic.items():
            self._send(result, f'semantic/{head}', serialise_semantic, mask)
        if self._overlay_wanted(result.frame.camera):
            self._publish_overlays(self._composer.add(result))

    def flush(self) -> None:
        """Publish the overlays that wait for a result that will not come any more."""
        self._publish_overlays(self._composer.flush())

    def _send(
        self, result: Result, output: str, serialise: Callable[..., memoryview], what: object
    ) -> None:
        frame = result.frame
        if self._is_heard(frame.camera, result.model, output):
            publisher = self._publishers[(frame.camera, result.model, output)]
            publish(publisher, serialise(frame.stamp_ns, frame.frame_id, what))

    def _publish_rois(self, result: Result, detections: Detections) -> None:
        frame = result.frame
        if self._rois and self._rois_wanted(frame.camera, result.model):
            size = frame.image.width, frame.image.height
            self._rois.publish(frame.camera, frame.stamp_ns, frame.frame_id, detections, size)

    def _is_heard(self, camera: str, model: str, output: str) -> bool:
        publisher = self._publishers.get((camera, model, output))
        return publisher is not None and bool(publisher.get_subscription_count())

    def _rois_wanted(self, camera: str, model: str) -> bool:
        return (
            self._rois is not None
            and self._detectors.get(camera) == model
            and self._rois.wanted(camera)
        )

    def _overlay_wanted(self, camera: str) -> bool:
        return self.config.overlay.enabled and bool(
            self._overlays[camera].get_subscription_count()
        )

    def _publish_overlays(self, frames: list[list[Result]]) -> None:
        for results in frames:
            try:
                self._publish_overlay(results)
            except Exception as error:  # a picture for people must not cost the result
                self._node.get_logger().error(
                    f'camera {results[0].frame.camera}: cannot draw an overlay: {error}',
                    throttle_duration_sec=5.0,
                )

    def _publish_overlay(self, results: list[Result]) -> None:
        frame, settings = results[0].frame, self.config.overlay
        rgb = draw_results(
            frame.image.rgb(),
            [(result, self._palettes[result.model]) for result in results],
            mask_opacity=settings.mask_opacity,
            max_width_px=settings.max_width_px,
        )
        header = to_header(frame.stamp_ns, frame.frame_id)
        self._overlays[frame.camera].publish(to_jpeg(header, rgb, settings.jpeg_quality))
