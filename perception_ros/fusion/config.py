"""The configuration of the fusion: one declaration behind parameters, files and documentation."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from perception_ros.core.config import (
    check_topic,
    Frozen,
    InterfacesConfig,
    is_name,
    NAME_RULE,
    parameter,
)
from perception_ros.core.parameters import Layout
from perception_ros.fusion.objects import ObjectSettings


class LidarConfig(Frozen):
    """The LiDAR."""

    topic: str = parameter('/lidar/points', 'Topic of its sensor_msgs/PointCloud2')
    reliability: Literal['best_effort', 'reliable'] = parameter(
        'best_effort', 'QoS of the subscription; reliable needs a reliable publisher'
    )

    @field_validator('topic')
    @classmethod
    def _is_a_topic(cls, value: str) -> str:
        if not value:
            raise ValueError('expected the topic of the points')
        return check_topic(value)


class FusionCameraConfig(Frozen):
    """One camera, as the perception node publishes it."""

    detections: str = parameter(
        '', 'Topic of its Detection2DArray; empty: /perception/<camera>/detections; none: none'
    )
    semantic: tuple[str, ...] = parameter(
        ('scene',),
        'Heads whose masks count, of /perception/<camera>/semantic/<head>, or whole topics',
    )
    instances: str = parameter(
        'none',
        'Topic of its instance masks; empty: /perception/<camera>/instances; none: none',
    )
    camera_info: str = parameter(
        '', 'Topic of its sensor_msgs/CameraInfo; empty: /<camera>/camera_info'
    )
    image: Literal['raw', 'rectified'] = parameter(
        'raw', 'Which images the perception node gets: K and D hold for raw ones, P for rectified'
    )
    frame: str = parameter(
        '', "Its optical frame; empty: that of the calibration file, or of the results' header"
    )
    time_offset_ms: float = parameter(
        0.0,
        'How much later than the stamp of a sweep the beams look where this camera does: the '
        'image of that time is taken',
        unit='ms',
        ge=-1000.0,
        le=1000.0,
    )

    @field_validator('detections', 'instances', 'camera_info')
    @classmethod
    def _is_a_topic(cls, value: str) -> str:
        return check_topic(value)

    @field_validator('semantic')
    @classmethod
    def _are_heads_or_topics(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(check_topic, value))

    def topics(self, camera: str) -> dict[str, str]:
        """Return output -> topic of what is fused: detections, instances, semantic/<head>."""
        base = f'/perception/{camera}'
        found = {
            output: given or f'{base}/{output}'
            for output, given in (('detections', self.detections), ('instances', self.instances))
            if given != 'none'
        }
        for head in self.semantic:
            topic = head if head.startswith('/') else f'{base}/semantic/{head}'
            found[f'semantic/{topic.rpartition("/")[2]}'] = topic
        return found

    def info_topic(self, camera: str) -> str:
        """Return where its CameraInfo comes from."""
        return self.camera_info or f'/{camera}/camera_info'


class FusionConfig(InterfacesConfig):
    """Everything that the fusion and its node need to know."""

    cameras: dict[str, FusionCameraConfig] = Field(
        default_factory=dict, description='Cameras by name, as the perception node has them'
    )
    lidar: LidarConfig = LidarConfig()
    objects: ObjectSettings = ObjectSettings()
    calibration_file: str = parameter(
        '',
        'File that says where sensors are and through what lenses they look, for what nobody '
        'publishes; what is published is checked against it. Empty: none',
    )
    fixed_frame: str = parameter(
        'odom',
        "Frame in which the world stands still: the vehicle's motion between sweep and image is "
        'taken out, and tracks live in it, where /tf connects it. Empty: no motion',
    )
    output_frame: str = parameter(
        'base_link',
        "Frame of objects, whose z must point up; the LiDAR's own where /tf does not connect it",
    )
    tolerance_ms: float = parameter(
        60.0,
        'Furthest that the stamp of an image may be from that of a sweep, and its offset',
        unit='ms',
        ge=0.0,
        le=1000.0,
    )
    max_wait_ms: float = parameter(
        150.0,
        'Longest time that a sweep waits for the cameras, from when it came in; then it goes with '
        'what there is',
        unit='ms',
        ge=0.0,
        le=10_000.0,
    )
    tracking: bool = parameter(True, 'Whether objects are followed from sweep to sweep')
    autostart: bool = parameter(
        False, 'Whether the node configures and activates itself when it starts'
    )

    @field_validator('cameras')
    @classmethod
    def _names_can_be_topics(
        cls, value: dict[str, FusionCameraConfig]
    ) -> dict[str, FusionCameraConfig]:
        for name in value:
            if not is_name(name):
                raise ValueError(f'name {name!r}: expected {NAME_RULE}')
        return value

    @model_validator(mode='after')
    def _something_is_fused(self) -> Self:
        for name, camera in self.cameras.items():
            if not camera.topics(name):
                raise ValueError(
                    f'camera {name!r} has neither detections nor semantic masks nor instances: '
                    'name one of them, or take it out of camera_names'
                )
        return self


FUSION = Layout(FusionConfig, 'fusion_node', {
    'camera_names': 'Names of the cameras, as the perception node has them. Each brings its own '
    'parameters cameras.<name>.*',
})
