"""How the pipeline fares: latency percentiles and diagnostics, once a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
import threading
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.lifecycle import LifecycleNode

from perception_ros.core.latency import Histogram, Key, merge_by
from perception_ros.core.machine import peak_memory_bytes
from perception_ros.core.model import Model
from perception_ros.core.passage import STAGES
from perception_ros.core.pipeline import Pipeline
from perception_ros.core.resources import Resources
from perception_ros.core.topics import LATENCY
from perception_ros.core.trust import Trust, Verdict
from perception_ros.ros.messages import to_diagnostics
from perception_ros.ros.qos import make_qos
from perception_ros.ros.silence import why_silent
from perception_ros.ros.statuses import resource_statuses, Status
from perception_ros.ros.trust import TrustPublisher, verdict_of

PERIOD_S = 1.0

MESSAGE_TYPES = {
    'raw': 'sensor_msgs/msg/Image',
    'compressed': 'sensor_msgs/msg/CompressedImage',
}
"""What a camera's topic carries, by its transport."""

_LATE = ('stale', 'late', 'out_of_order', 'duplicate', 'unmatched')


class Health:
    """Publishes `latency`, `/diagnostics` and `health` for one pipeline; `destroy` ends it."""

    def __init__(
        self, node: LifecycleNode, pipeline: Pipeline, models: Mapping[str, Model]
    ) -> None:
        self._node = node
        self._pipeline = pipeline
        self._models = models
        self._latency = node.create_publisher(DiagnosticArray, LATENCY, make_qos('reliable', 10))
        self._diagnostics = node.create_publisher(
            DiagnosticArray, '/diagnostics', make_qos('reliable', 10)
        )
        subjects = [f'camera {name}' for name in pipeline.config.cameras]
        subjects += [f'model {name}' for name in models]
        self._trust = TrustPublisher(node, subjects, pipeline.config.trust_after_s)
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._resources, self._run = Resources(), Resources()
        """Of the last second, and of the time since `start`."""
        self._last = pipeline.statistics.snapshot()
        self._mismatches: dict[str, str] = {}
        self.totals: dict[Key, Histogram] = {}

    def start(self) -> None:
        """Publish from now on, once a second of real time, also while a simulated clock stands.

        This has a thread of its own: what drivers are asked may take a while, and whoever
        receives images must not wait for it.
        """
        self._last = self._pipeline.statistics.snapshot()
        self._resources, self._run = Resources(), Resources()
        self._trust.start()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._loop, name='health', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish no more: an inactive node has no silent cameras."""
        if self._thread:
            self._stopping.set()
            self._thread.join()
            self._thread = None
            self._resources.close()
            self._trust.stop()

    def destroy(self) -> None:
        """Stop, and withdraw the topics."""
        self.stop()
        self._trust.destroy()
        for publisher in (self._latency, self._diagnostics):
            self._node.destroy_publisher(publisher)

    def _loop(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            try:
                self.publish()
            except Exception as error:  # the next second may be better
                self._node.get_logger().error(f'cannot publish diagnostics: {error}')

    def mismatch(self, camera: str, text: str) -> None:
        """Say that a publisher's QoS does not fit the subscription of this camera."""
        self._mismatches[camera] = text
        self._node.get_logger().error(f'camera {camera}: {text}')
        self._trust.judge({f'camera {camera}': Verdict(Trust.UNTRUSTED, text)})

    def publish(self) -> None:
        """Publish what happened since the last call."""
        now_ns = self._node.get_clock().now().nanoseconds
        latencies = latency_values(self.collect())
        self._latency.publish(to_diagnostics(now_ns, latencies))
        counters = self._pipeline.statistics.snapshot()
        judged = {
            **self._cameras(counters, latencies),
            **self._engines(counters, latencies),
        }
        self._last = counters
        self._trust.judge({name: verdict_of(status) for name, status in judged.items()})
        statuses = judged | resource_statuses(self._resources.read().as_json())
        prefix = self._node.get_fully_qualified_name().lstrip('/')
        named = {f'{prefix}: {name}': status for name, status in statuses.items()}
        self._diagnostics.publish(
            to_diagnostics(
                now_ns,
                {name: status.values for name, status in named.items()},
                levels={name: status.level for name, status in named.items()},
                messages={name: status.text for name, status in named.items()},
            )
        )

    def collect(self) -> dict[Key, Histogram]:
        """Take the latencies since the last call, and add them to the totals."""
        taken = self._pipeline.latency.take()
        for key, histogram in taken.items():
            self.totals.setdefault(key, Histogram()).merge(histogram)
        return taken

    def summary(self) -> dict[str, Any]:
        """Return all counters, latencies and engines since the pipeline began, ready for JSON."""
        self.collect()
        cameras = list(self._pipeline.config.cameras)
        by_stage = merge_by(lambda key: key.stage, self.totals)
        by_camera = merge_by(lambda key: (key.camera, key.stage), self.totals)
        by_model = merge_by(lambda key: (key.model, key.stage), self.totals)
        return {
            'cameras': cameras,
            'clock_jumps': self._pipeline.clock_jumps,
            **self._pipeline.statistics.snapshot(),
            'latency_ms': by_stage.get('total', Histogram()).summary_ms(),
            'latency_ms_by_stage': {
                stage: by_stage.get(stage, Histogram()).summary_ms() for stage in STAGES
            },
            'latency_ms_by_camera': {
                camera: by_camera[camera, 'total'].summary_ms()
                for camera in cameras
                if (camera, 'total') in by_camera
            },
            'latency_ms_by_model': {
                model: by_model[model, 'total'].summary_ms()
                for model in self._models
                if (model, 'total') in by_model
            },
            'models': [
                {
                    'name': name,
                    'bundle': model.manifest.name,
                    'backend': model.engine.info.backend,
                    'device': model.engine.info.device,
                    'precision': model.engine.info.precision,
                    'max_batch': model.engine.info.max_batch,
                    'degradation': str(model.engine.degradation or ''),
                }
                for name, model in self._models.items()
            ],
            'resources': self._resources_of_run(),
        }

    def _resources_of_run(self) -> dict[str, Any]:
        """Return what was taken of the machine since `start`, and what its GPUs do now."""
        use = self._run.read().as_json()
        self._run.close()
        use['process']['peak_memory_mb'] = round(peak_memory_bytes() / 1e6, 1)
        return use

    def _cameras(
        self, counters: dict[str, Any], latencies: Mapping[str, Mapping[str, object]]
    ) -> dict[str, Status]:
        statuses = {}
        for camera in self._pipeline.config.cameras:
            received = self._new(counters, 'frames_received', camera)
            drops = self._new_drops(counters, 'frames_dropped_by_camera', camera)
            missing = self._new(counters, 'frames_missing', camera)
            bad = {reason: drops[reason] for reason in ('invalid', 'undecodable', 'failed')}
            level, text = DiagnosticStatus.OK, f'{received} frames/s'
            if camera in self._mismatches:
                level, text = DiagnosticStatus.ERROR, self._mismatches[camera]
                if received:
                    self._mismatches.pop(camera, None)
            elif not received:
                level, text = DiagnosticStatus.ERROR, f'no frames: {self._why_silent(camera)}'
            elif any(bad.values()):
                worst = max(bad, key=lambda reason: bad[reason])
                level, text = DiagnosticStatus.ERROR, f'{bad[worst]} frames/s are {worst}'
            elif missing:
                level, text = DiagnosticStatus.WARN, f'missing from {missing} frame sets/s'
            elif late := {reason: drops[reason] for reason in _LATE if drops[reason]}:
                worst = max(late, key=lambda reason: late[reason])
                level, text = DiagnosticStatus.WARN, f'{late[worst]} frames/s are {worst}'
            values = {'received': received, 'missing': missing, **drops}
            for stage in STAGES:
                values |= _prefixed(stage, latencies.get(f'{camera}/{stage}', {}))
            statuses[f'camera {camera}'] = Status(level, text, values)
        return statuses

    def _why_silent(self, camera: str) -> str:
        """Say what can be seen of a camera's topic."""
        config = self._pipeline.config.cameras[camera]
        remedy = f'Set cameras.{camera}.transport or topic to what the driver publishes'
        return why_silent(
            self._node, config.topic_for(camera), MESSAGE_TYPES[config.transport], remedy
        ) or 'the camera is silent'

    def _engines(
        self, counters: dict[str, Any], latencies: Mapping[str, Mapping[str, object]]
    ) -> dict[str, Status]:
        statuses = {}
        for name, model in self._models.items():
            inferred = self._new(counters, 'frames_inferred', name)
            calls = self._new(counters, 'engine_calls', name)
            info = model.engine.info
            values = {
                'inferred': inferred,
                'engine_calls': calls,
                'bundle': model.manifest.name,
                'backend': info.backend,
                'device': info.device,
                'precision': info.precision,
                'max_batch': info.max_batch,
            }
            level = DiagnosticStatus.OK
            text = f'{inferred} frames/s in {calls} calls/s on {info.backend} {info.device}'
            drops = self._new_drops(counters, 'frames_dropped_by_model', name)
            if failed := drops['failed']:
                level = DiagnosticStatus.WARN if inferred else DiagnosticStatus.ERROR
                text = f'{failed} frames/s failed; {text}'
            elif late := drops['late'] + drops['stale']:
                level, text = DiagnosticStatus.WARN, f'{late} frames/s come too late; {text}'
            if degradation := model.engine.degradation:
                level, text = max(level, DiagnosticStatus.WARN), f'{text}: {degradation}'
                values['degraded_by'] = degradation.reason
                values['degraded_since'] = degradation.since.isoformat(timespec='seconds')
            values |= _prefixed('total', latencies.get(f'model {name}/total', {}))
            statuses[f'model {name}'] = Status(level, text, values)
        return statuses

    def _new_drops(self, counters: dict[str, Any], table: str, key: str) -> Counter[str]:
        """Return what was dropped in the last second, by reason."""
        return Counter(counters[table].get(key, {})) - Counter(self._last[table].get(key, {}))

    def _new(self, counters: dict[str, Any], table: str, key: str) -> int:
        return int(counters[table].get(key, 0)) - int(self._last[table].get(key, 0))


def _prefixed(stage: str, values: Mapping[str, object]) -> dict[str, Any]:
    return {f'{stage}_{key}': value for key, value in values.items() if key != 'count'}


def latency_values(histograms: Mapping[Key, Histogram]) -> dict[str, dict[str, object]]:
    """Return a status for each camera and stage with p50, p95, p99, max in ms and the count.

    Where there are several models, each has one for the total of its frames.
    """
    by_camera = merge_by(lambda key: (key.camera, key.stage), histograms)
    ordered = sorted(by_camera, key=lambda pair: (pair[0], STAGES.index(pair[1])))
    named = {f'{camera}/{stage}': by_camera[camera, stage] for camera, stage in ordered}
    totals = {key: histogram for key, histogram in histograms.items() if key.stage == 'total'}
    by_model = merge_by(lambda key: key.model, totals)
    if len(by_model) > 1:
        named |= {f'model {model}/total': by_model[model] for model in sorted(by_model)}
    return {
        name: {
            **{f'{key}_ms': value for key, value in histogram.summary_ms().items()},
            'count': histogram.total,
        }
        for name, histogram in named.items()
    }
