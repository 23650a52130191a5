"""The whole configuration, declared once: node parameters, YAML and docs come from these classes.

Every field has a description, a unit where it has one, a range, and says whether it may change
while the node runs (`live`). The objects are frozen: a change makes a new object.
"""

from __future__ import annotations

from collections.abc import Mapping
import re
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
    ValidationError,
)
from typing_extensions import Self

from perception_ros.core.autoware import read_labels
from perception_ros.core.errors import ConfigError

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')
_TOPIC = re.compile(r'(~?/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)
NAME_RULE = 'a letter, then letters, digits and underscores (it becomes part of a topic name)'


def is_name(name: str) -> bool:
    """Say whether a name of a camera or model can be part of a topic; see `NAME_RULE`."""
    return bool(_NAME.fullmatch(name))


def check_topic(name: str) -> str:
    """Return the name of a topic, which may be empty where something else names it.

    :raises ValueError: nothing can be called so in ROS 2.
    """
    if name and not _TOPIC.fullmatch(name):
        raise ValueError('expected a topic name such as /front/image_raw')
    return name


def parameter(
    default: Any, description: str, *, unit: str = '', live: bool = False, **bounds: Any
) -> Any:
    """Declare a field: default, description, unit, whether it may change while running, bounds."""
    extra: dict[str, Any] = {'unit': unit, 'live': live}
    return Field(default=default, description=description, json_schema_extra=extra, **bounds)


class Frozen(BaseModel):
    """A configuration, or a part of one; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)


class SynchronizerConfig(Frozen):
    """Which frames of different cameras belong together."""

    policy: Literal['exact', 'approximate', 'deadline', 'message_filters'] = parameter(
        'deadline',
        'exact: equal stamps; approximate: stamps within the tolerance; deadline: as approximate, '
        'but a set goes on incomplete once its oldest frame has waited max_wait_ms; '
        "message_filters: the distribution's ApproximateTimeSynchronizer",
    )
    tolerance_ms: float = parameter(
        30.0, 'Largest difference between the stamps of one set', unit='ms', ge=0.0, le=10_000.0
    )
    max_wait_ms: float = parameter(
        40.0,
        'Policy deadline: longest time that a frame waits for its partners',
        unit='ms',
        ge=0.0,
        le=10_000.0,
    )


class CameraConfig(Frozen):
    """One camera."""

    topic: str = parameter('', 'Image topic; empty: /<camera>/image_raw, plus /compressed')
    transport: Literal['raw', 'compressed'] = parameter(
        'raw', 'raw: sensor_msgs/Image; compressed: sensor_msgs/CompressedImage (JPEG or PNG)'
    )
    reliability: Literal['best_effort', 'reliable'] = parameter(
        'best_effort', 'QoS of the subscription; reliable needs a reliable publisher'
    )
    queue_depth: int = parameter(5, 'QoS history depth of the subscription', ge=1, le=1000)
    stamp_source: Literal['header', 'arrival'] = parameter(
        'header',
        'header: frames are matched by header.stamp; arrival: by when they came, for drivers that '
        'leave the stamp empty',
    )
    time_offset_ms: float = parameter(
        0.0,
        "Added to this camera's stamps before they are compared with those of other cameras; "
        'published headers are not changed',
        unit='ms',
        ge=-10_000.0,
        le=10_000.0,
    )
    priority: int = parameter(
        1, 'Which cameras go first when not all frames fit: 1 is first', ge=1, le=100
    )
    score_threshold: float = parameter(
        -1.0,
        "Detections of this camera below this score are not published; -1: the model's threshold",
        live=True,
        ge=-1.0,
        le=1.0,
    )
    ignore_mask: str = parameter(
        '',
        'Image file, non-zero where this camera sees the vehicle itself: detections that lie '
        'mostly there are left out, masks are 255 there. Scaled to the size of the images',
    )

    max_megapixels: float = parameter(
        32.0,
        'Images with more million pixels are dropped before they are decoded: a damaged header '
        'must not take the time of the other cameras',
        ge=0.1,
        le=134.0,
    )

    @field_validator('topic')
    @classmethod
    def _is_a_topic(cls, value: str) -> str:
        return check_topic(value)

    def topic_for(self, name: str) -> str:
        """Return the topic to subscribe to for the camera `name`."""
        suffix = '/compressed' if self.transport == 'compressed' else ''
        return self.topic or f'/{name}/image_raw{suffix}'


class ModelConfig(Frozen):
    """One model: a bundle, an engine for it, and which frames it gets."""

    bundle: str = parameter(
        '', 'Folder of the bundle, or the name of a shipped one; empty: the name of the model'
    )
    backend: str = parameter('', 'As the common backend, for this model; empty: the common one')
    device: str = parameter(
        'auto',
        'auto: the best that works here; cpu; with onnxruntime cuda, cuda:<index>, tensorrt or '
        'tensorrt:<index>; with openvino gpu or gpu:<index>; with tensorrt and tensorrt_rtx cuda '
        'or cuda:<index>; with triton gpu, where the server must run it then',
    )
    fallback: str = parameter(
        '',
        'Backend that serves instead if the other one cannot be opened or fails three times in a '
        'row, until the node is configured anew; empty: none, frames are dropped then',
    )
    fallback_device: str = parameter('auto', 'As device, for the fallback')
    build: Literal['wait', 'background'] = parameter(
        'wait',
        'wait: configure lasts until the backend is ready, which may mean to build its engine for '
        'minutes; background: the fallback serves until then',
    )
    max_batch: int = parameter(8, 'Most images in one engine call', ge=1, le=256)
    cameras: tuple[str, ...] = parameter((), 'Cameras whose frames this model gets; empty: all')
    max_rate_hz: float = parameter(
        0.0, 'Most frames per second from each camera; 0: all', unit='Hz', ge=0.0, le=1000.0
    )
    preferred_batch: int = parameter(
        0,
        'Images that an engine call should have: one that has fewer may wait for '
        'max_queue_delay_ms while more are expected; 0: it never waits',
        ge=0,
        le=256,
    )
    max_queue_delay_ms: float = parameter(
        0.0,
        'Longest time that an engine call of fewer than preferred_batch images waits for more, '
        'from when its oldest image could have gone; 0: it never waits',
        unit='ms',
        ge=0.0,
        le=10_000.0,
    )
    deadline_ms: float = parameter(
        0.0,
        'Time from receipt to publication within which a result is of use: a frame that, by what '
        'engine calls take, cannot make it is dropped as late before it costs one; 0: none',
        unit='ms',
        ge=0.0,
        le=60_000.0,
    )
    score_threshold: float = parameter(
        -1.0,
        "Detections below this score are not published; -1: the bundle's threshold",
        live=True,
        ge=-1.0,
        le=1.0,
    )
    tracking: Literal['none', 'bytetrack'] = parameter(
        'none',
        'bytetrack: detections get the id of their track in the images of their camera; needs the '
        'package trackers',
    )
    track_lost_after_s: float = parameter(
        1.0, 'How long a track lives unseen before its id is given up', unit='s', gt=0.0, le=60.0
    )
    threads: int = parameter(
        0, 'CPU threads of one engine call; 0: the runtime chooses', ge=0, le=256
    )
    performance_hint: Literal['latency', 'throughput'] = parameter(
        'latency',
        'openvino: latency gives all cores to one call, throughput shares them among the calls in '
        'flight; onnxruntime has no such choice',
    )
    graph_optimization: Literal['disabled', 'basic', 'extended', 'all'] = parameter(
        'all', 'onnxruntime: how much of the graph it may rewrite; openvino always rewrites all'
    )
    optimal_batch: int = parameter(
        0,
        'tensorrt, tensorrt_rtx: batch size that the engine is tuned for, at most max_batch; '
        '0: max_batch',
        ge=0,
        le=256,
    )
    hardware_compatibility: Literal['none', 'ampere_plus', 'same_compute_capability'] = parameter(
        'none',
        'tensorrt: GPUs that the built engine runs on; none: the kind that built it; ampere_plus: '
        'Ampere and newer; same_compute_capability: those of the same compute capability. More '
        'GPUs may mean a slower engine',
    )
    dla_core: int = parameter(
        -1,
        'tensorrt: deep-learning accelerator to run on, where the platform has one; it takes '
        'batches of max_batch only, and the GPU does what it cannot; -1: the GPU alone',
        ge=-1,
        le=7,
    )
    cuda_graphs: bool = parameter(
        True,
        'tensorrt, tensorrt_rtx: give a batch to the GPU as one CUDA graph, which saves the CPU '
        'the time to launch its parts, where it can be captured',
    )
    fake_duration_ms: float = parameter(
        0.0,
        'fake: time that one call takes, whatever its batch, at next to no cost for the CPU; '
        'every image then has the same box, and no pixel is looked at. 0: no time, and the boxes '
        'are the coloured rectangles in the images',
        unit='ms',
        ge=0.0,
        le=60_000.0,
    )
    server: str = parameter('localhost:8001', 'triton: host and gRPC port of the server')
    server_timeout_ms: int = parameter(
        5000,
        'triton: longest time that the server may take for one batch; its frames are dropped then',
        unit='ms',
        ge=1,
        le=600_000,
    )
    server_priority: int = parameter(
        0,
        'triton: whose requests for this model the server takes first, 1 before 2; 0: the default '
        'of the model there',
        ge=0,
        le=1000,
    )


class OverlayConfig(Frozen):
    """The pictures with boxes and masks drawn in, for people."""

    enabled: bool = parameter(True, 'Publish overlays to those who subscribe to them', live=True)
    mask_opacity: float = parameter(
        0.45, 'Opacity of semantic classes in the overlay', live=True, ge=0.0, le=1.0
    )
    jpeg_quality: int = parameter(85, 'JPEG quality of the overlay', live=True, ge=1, le=100)
    max_width_px: int = parameter(
        1280, 'Wider images are drawn at this width', unit='px', live=True, ge=64, le=16384
    )


class InterfacesConfig(Frozen):
    """For which stacks results are published, and when these may trust them."""

    interfaces: tuple[Literal['vision_msgs', 'autoware'], ...] = parameter(
        ('vision_msgs',),
        'Messages of boxes and objects: vision_msgs, and autoware, whose message packages must be '
        'installed; see docs/interfaces.md',
    )
    autoware_labels: tuple[str, ...] = parameter(
        (),
        'autoware: labels of classes whose names do not say them, as class=label, such as '
        'tram=bus; all others are listed in docs/interfaces.md',
    )

    trust_after_s: float = parameter(
        3.0,
        'How long a camera, a model or the fusion must have been well for `health` to call it '
        'trusted',
        unit='s',
        ge=0.0,
        le=60.0,
    )

    @field_validator('interfaces')
    @classmethod
    def _is_some_interface(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError('expected at least one of vision_msgs and autoware')
        return value

    @field_validator('autoware_labels')
    @classmethod
    def _are_labels(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        read_labels(value)
        return value


class PerceptionConfig(InterfacesConfig):
    """Everything that the pipeline and the node need to know."""

    cameras: dict[str, CameraConfig] = Field(
        default_factory=dict, description='Cameras by name, in the order in which they are batched'
    )
    models: dict[str, ModelConfig] = Field(
        default_factory=dict,
        description='Models by name; every model gets every camera by default',
    )
    synchronizer: SynchronizerConfig = SynchronizerConfig()
    overlay: OverlayConfig = OverlayConfig()
    max_age_ms: float = parameter(
        500.0,
        'A frame that has waited longer than this since it came in is dropped, not inferred',
        unit='ms',
        live=True,
        ge=1.0,
        le=60_000.0,
    )
    queue_depth: int = parameter(
        1,
        'Frames of one camera that may wait for one model; beyond that the newest wins',
        ge=1,
        le=100,
    )
    backend: str = parameter(
        'auto',
        'auto (the first of the next four that works here), tensorrt, tensorrt_rtx, onnxruntime, '
        'openvino, triton (a server), or fake (no inference, for tests and timing)',
    )
    autostart: bool = parameter(
        False, 'Whether the node configures and activates itself when it starts'
    )
    build_only: bool = parameter(
        False,
        'Open the engine of every model, which builds and stores it where that has not been done, '
        'and end; the exit status is 0 if all could be opened',
    )
    lazy: bool = parameter(
        True, 'Infer only what somebody subscribes to; false: always infer everything', live=True
    )
    summary_file: str = parameter(
        '', 'Where to write the counters as JSON when the node is deactivated; empty: nowhere'
    )
    frame_log: str = parameter(
        '', 'Where to write a line about what became of each frame, at once; empty: nowhere'
    )
    trace_file: str = parameter(
        '',
        'Where to write what each thread and frame did when, as JSON for ui.perfetto.dev; empty: '
        'nowhere, and at no cost',
    )

    @field_validator('cameras', 'models')
    @classmethod
    def _names_can_be_topics(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if not is_name(name):
                raise ValueError(f'name {name!r}: expected {NAME_RULE}')
        return value

    @model_validator(mode='after')
    def _references_hold(self) -> Self:
        for name, model in self.models.items():
            unknown = sorted(set(model.cameras) - set(self.cameras))
            if unknown:
                raise ValueError(
                    f'model {name!r} names cameras {unknown} that do not exist: '
                    f'expected some of {sorted(self.cameras)}'
                )
            self._check_fallback(name, model)
            if model.max_queue_delay_ms >= self.max_age_ms:
                raise ValueError(
                    f'model {name!r} has max_queue_delay_ms {model.max_queue_delay_ms:g}: '
                    f'expected less than max_age_ms, {self.max_age_ms:g}, or it drops what waits'
                )
        return self

    def _check_fallback(self, name: str, model: ModelConfig) -> None:
        if not model.fallback:
            if model.build == 'background':
                raise ValueError(
                    f'model {name!r} has build background and no fallback that serves meanwhile'
                )
        elif model.fallback == 'auto':
            raise ValueError(
                f'model {name!r} has fallback auto, which might take the backend that failed: '
                'expected the name of a backend'
            )
        elif (model.backend or self.backend, model.device) == (
            model.fallback, model.fallback_device
        ):
            raise ValueError(
                f'model {name!r} has backend and fallback {model.fallback!r}, both on device '
                f'{model.device!r}: what fails there would fail again. Name another, or none'
            )

    def cameras_of(self, model: str) -> tuple[str, ...]:
        """Return the cameras whose frames `model` gets, in configured order."""
        wanted = self.models[model].cameras or tuple(self.cameras)
        return tuple(camera for camera in self.cameras if camera in wanted)

    def score_threshold(self, camera: str, model: str, of_bundle: float) -> float:
        """Return the least score to publish: the camera's, else the model's, else the bundle's."""
        for threshold in (
            self.cameras[camera].score_threshold,
            self.models[model].score_threshold,
        ):
            if threshold >= 0:
                return threshold
        return of_bundle


def load_config(values: Mapping[str, Any]) -> PerceptionConfig:
    """Validate `values` (nested mappings, as read from YAML or from parameters).

    :raises ConfigError: naming each wrong key, what was expected and what came.
    """
    try:
        return PerceptionConfig.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(describe(error)) from error


def describe(error: ValidationError) -> str:
    """Return one line a problem: the key, what is wrong, what came."""
    lines = []
    for item in error.errors():
        key = '.'.join(str(part) for part in item['loc'])
        message = item['msg'].removeprefix('Value error, ')
        if item['type'] == 'extra_forbidden':
            message = 'unknown parameter; check its spelling against docs/parameters.md'
        came = item.get('input')
        shown = '' if isinstance(came, (dict, BaseModel)) else f' (got {came!r})'
        lines.append(f'{key}: {message}{shown}' if key else f'{message}{shown}')
    return '; '.join(lines)
