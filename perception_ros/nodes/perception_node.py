"""The perception node: all cameras and all models of a vehicle, as one lifecycle node.

configure    reads the parameters, opens the bundles, warms the engines up, announces the topics
activate     subscribes to the cameras and begins to infer
deactivate   unsubscribes, finishes what is in the engines, writes the summary
cleanup      frees the engines

What happens to a frame in between is `core/pipeline.py`; this file only wires it to ROS.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
import json
import logging
from pathlib import Path
import sys
import threading
from typing import Any

import cv2
from rcl_interfaces.msg import SetParametersResult
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from perception_ros.backends.configured import ignore_masks, open_model, open_model_engine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ConfigError, PerceptionError
from perception_ros.core.files import write_text
from perception_ros.core.frame_log import FrameLog
from perception_ros.core.model import Model
from perception_ros.core.parameters import PERCEPTION
from perception_ros.core.threaded import ThreadedPipeline
from perception_ros.core.trace import Trace
from perception_ros.core.traced import TracedPipeline
from perception_ros.nodes.allocator import keep_freed_memory
from perception_ros.nodes.signals import on_end
from perception_ros.ros.cameras import CameraSubscriptions
from perception_ros.ros.declare import EmptyListsNode
from perception_ros.ros.filters import make_matcher
from perception_ros.ros.health import Health
from perception_ros.ros.logs import log_to_ros
from perception_ros.ros.parameters import NodeParameters
from perception_ros.ros.results import ResultPublishers

SIGNAL_PERIOD_S = 0.2
"""The node ends this long after a signal at most: who waits for ROS cannot be woken."""


class PerceptionNode(LifecycleNode, EmptyListsNode):
    """Subscribes to N cameras, runs M models, publishes in the cameras' own pixels."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__(
            'perception_node',
            namespace='perception',
            automatically_declare_parameters_from_overrides=True,
            **node_options,
        )
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

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Open everything; on any error say why and stay unconfigured."""
        return self._attempt('configure', self._configure, undo=self._close)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begin to receive and infer; on any error say why and stay inactive."""
        super().on_activate(state)
        return self._attempt('activate', self._start, undo=self._stop)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop receiving, finish what is in the engines, write the summary."""
        super().on_deactivate(state)
        return self._attempt('deactivate', self._stop)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the engines and withdraw the topics."""
        return self._attempt('clean up', self._close)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Do what deactivate and cleanup do, from whichever state."""
        return self._attempt('shut down', self.close)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, so that the node can be configured anew."""
        return self._attempt('recover', self.close)

    def build(self) -> bool:
        """Open every model's engine once and free it; return whether all could be opened."""
        return self._attempt('build', self._build) is TransitionCallbackReturn.SUCCESS

    def interrupt(self) -> None:
        """Give up engines that are being opened, which lets a long configure fail; any thread."""
        self._cancel.set()

    def close(self) -> None:
        """Stop and free everything. Idempotent."""
        self._stop()
        self._close()

    def _attempt(
        self, what: str, step: Callable[[], None], undo: Callable[[], None] | None = None
    ) -> TransitionCallbackReturn:
        """Run a step of the lifecycle. rclpy would swallow an exception without a word."""
        try:
            step()
        except Exception as error:
            self.get_logger().error(f'cannot {what}: {error}')
            if not isinstance(error, PerceptionError):
                logging.getLogger(__name__).exception('this is a defect of perception_ros')
            if undo:
                undo()
                return TransitionCallbackReturn.FAILURE
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS

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
    """Run the node until it is told to end, by SIGINT, SIGTERM or a shutdown of its context."""
    keep_freed_memory()
    # OpenCV's own threads wait for the next image by spinning: a fifth of the CPU time of a frame.
    cv2.setNumThreads(1)
    # rclpy's own handlers would shut the context down before the last results are published.
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node: PerceptionNode | None = None
    ended = on_end(lambda: node.interrupt() if node else None)
    node = PerceptionNode()
    log_to_ros(node)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        if node.get_parameter('build_only').value:
            return 0 if node.build() else 1
        autostart = node.get_parameter('autostart').value
        configured = autostart and node.trigger_configure() is TransitionCallbackReturn.SUCCESS
        if configured and not ended.is_set():
            node.trigger_activate()
        while not ended.is_set() and rclpy.ok():
            executor.spin_once(timeout_sec=SIGNAL_PERIOD_S)
    except ExternalShutdownException:
        pass
    finally:
        node.close()
        executor.shutdown()
        node.destroy_node()
        # The thread that waits for signals outlives the interpreter: what it holds is never freed,
        # and Fast DDS would leave hundreds of megabytes in /dev/shm.
        node = None
        rclpy.try_shutdown()
    return 0


if __name__ == '__main__':
    sys.exit(main())
