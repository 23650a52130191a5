"""The perception node: all cameras and all models of a vehicle, as one lifecycle node.

configure    reads the parameters, opens the bundles, warms the engines up, announces the topics
activate     subscribes to the cameras and begins to infer
deactivate   unsubscribes, finishes what is in the engines, writes the summary
cleanup      frees the engines

What happens to a frame in between is `core/pipeline.py`; this file only wires it to ROS.
"""

from __future__ import annotations

from functools import partial
import json
from pathlib import Path
import sys
import threading
from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from perception_ros.backends.configured import ignore_masks, open_model, open_model_engine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ConfigError
from perception_ros.core.files import write_text
from perception_ros.core.frame_log import FrameLog
from perception_ros.core.model import Model
from perception_ros.core.parameters import PERCEPTION
from perception_ros.core.threaded import ThreadedPipeline
from perception_ros.core.trace import Trace
from perception_ros.core.traced import TracedPipeline
from perception_ros.nodes.managed import ManagedNode, run
from perception_ros.ros.cameras import CameraSubscriptions
from perception_ros.ros.filters import make_matcher
from perception_ros.ros.health import Health
from perception_ros.ros.parameters import NodeParameters
from perception_ros.ros.results import ResultPublishers


class PerceptionNode(ManagedNode):
    """Subscribes to N cameras, runs M models, publishes in the cameras' own pixels."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('perception_node', **node_options)
        self._declared = NodeParameters(self, PERCEPTION)
        self.add_on_set_parameters_callback(self._on_set_parameters)
        self._cancel = threading.Event()
        self._models: dict[str, Model] = {}
        self._frame_log: FrameLog | None = None
        self._trace: Trace | None = None
        self._pipeline: ThreadedPipeline | None = None
        self._outputs: ResultPublishers | None = None
        self._health: Health | None = None
        self._inputs: CameraSubscriptions | None = None

    def build(self) -> bool:
        """Open every model's engine once and free it; return whether all could be opened."""
        return self._attempt('build', self._build) is TransitionCallbackReturn.SUCCESS

    def interrupt(self) -> None:
        """Give up engines that are being opened, which lets a long configure fail; any thread."""
        self._cancel.set()

    def _configure(self) -> None:
        self._config = self._declared.load()
        self._cancel = threading.Event()  # what is still being opened for an earlier life stays so
        self._open(self._config)

    def _start(self) -> None:
        assert self._pipeline and self._health
        self._pipeline.start()
        self._inputs = CameraSubscriptions(self, self._pipeline, self._health.mismatch)
        self._health.start()

    def _open(self, config: PerceptionConfig) -> None:
        for name in ('cameras', 'models'):
            if not getattr(config, name):
                raise ConfigError(
                    f'there are no {name}: expected at least one name in {name[:-1]}_names'
                )
        self._refuse_shared_topics(config)
        ignore = ignore_masks(config)
        for name in config.models:
            if self._cancel.is_set():
                raise ConfigError('the node was told to end')
            self._models[name] = open_model(
                name, config, ignore=ignore, current=lambda: self._config, cancel=self._cancel
            )
        if config.frame_log:
            self._frame_log = FrameLog(Path(config.frame_log))
        self._outputs = ResultPublishers(self, config, self._models)
        self._trace = Trace(Path(config.trace_file)) if config.trace_file else None
        make = partial(TracedPipeline, trace=self._trace) if self._trace else ThreadedPipeline
        self._pipeline = make(
            config,
            self._models,
            self._outputs.publish,
            wanted=self._outputs.wanted,
            synchronizer=make_matcher(config),
            statistics=self._frame_log,
        )
        self._health = Health(self, self._pipeline, self._models)

    def _refuse_shared_topics(self, config: PerceptionConfig) -> None:
        """Compare topics as ROS resolves them: x and /perception/x may be one."""
        cameras: dict[str, str] = {}
        for name, camera in config.cameras.items():
            topic = self.resolve_topic_name(camera.topic_for(name))
            other = cameras.setdefault(topic, name)
            if other != name:
                raise ConfigError(
                    f'cameras {other!r} and {name!r} have the same topic {topic!r}: give each '
                    'camera a topic of its own, or remove one of them'
                )

    def _build(self) -> None:
        """Open each model's own engine, which builds and stores it, and close it again."""
        self._config = self._declared.load()
        if not self._config.models:
            raise ConfigError('there are no models: expected at least one name in model_names')
        own = {'fallback': '', 'build': 'wait'}
        for name, settings in self._config.models.items():
            bundle = Bundle.load(settings.bundle or name)
            own_engine = settings.model_copy(update=own)
            open_model_engine(
                name, bundle, own_engine, self._config.backend, self._cancel
            ).close()

    def _on_set_parameters(self, parameters: list[Parameter[Any]]) -> SetParametersResult:
        """Refuse what cannot change now, and let what can take effect at once."""
        verdict, config = self._declared.judge(parameters, running=self._pipeline is not None)
        if config and self._pipeline and self._outputs:
            self._config = config
            self._pipeline.scheduler.max_age_ms = config.max_age_ms
            self._outputs.config = config
        return verdict

    def _stop(self) -> None:
        if self._pipeline is None or not self._pipeline.is_running:
            return
        assert self._health and self._outputs
        if self._inputs:
            self._inputs.destroy()
            self._inputs = None
        self._health.stop()
        self._pipeline.stop()
        if self._config.summary_file:
            self._write_summary(Path(self._config.summary_file), self._health.summary())
        self._outputs.flush()

    def _write_summary(self, path: Path, summary: dict[str, Any]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text(path, json.dumps(summary, indent=2) + '\n')
        except OSError as error:
            self.get_logger().error(f'cannot write summary_file {path}: {error}')

    def _close(self) -> None:
        self.interrupt()
        if self._health:
            self._health.destroy()
        if self._outputs:
            self._outputs.destroy()
        for model in self._models.values():
            model.engine.close()
        for file in (self._frame_log, self._trace):
            if file:
                file.close()
        self._models = {}
        self._frame_log = self._trace = None
        self._pipeline = self._outputs = self._health = None


def main(args: list[str] | None = None) -> int:
    """Run the node, or build its engines and end, if `build_only` says so."""
    return run(PerceptionNode, args, _build_only)


def _build_only(node: PerceptionNode) -> int | None:
    if not node.get_parameter('build_only').value:
        return None
    return 0 if node.build() else 1


if __name__ == '__main__':
    sys.exit(main())
