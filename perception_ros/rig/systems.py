"""What images are sent to: our node, plain nodes, a bare engine, or nobody but a receiver."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

from perception_ros.benchmarks.images import letterboxed
from perception_ros.benchmarks.live.figures import Delays
from perception_ros.benchmarks.live.settings import Serving
from perception_ros.benchmarks.process import WorkerProcess
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BenchmarkError
from perception_ros.demo.processes import DemoError, NodeProcess
from perception_ros.rig.pictures import pictures
from perception_ros.rig.scene import read_json, Scene

MODEL = 'model'
_RESULTS_DEPTH = 1000
_OPEN_S = 600.0
_ANSWER_S = 60.0
_REFUSALS = ('cannot configure: ', 'cannot activate: ')


@dataclass(slots=True)
class Outcome:
    """What a side says itself, once it has ended."""

    received: int | None = None
    images_per_s: float | None = None
    stages_ms: dict[str, Delays] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)


class System(ABC):
    """A side of a comparison; it lives for one turn."""

    processes: Sequence[int] = ()
    """What its CPU time and memory are."""
    listener: WorkerProcess | None = None
    """Who hears what it publishes; a receiver hears the images themselves."""

    @abstractmethod
    def start(self, scene: Scene) -> None:
        """Start its processes; who has subscribed to all cameras is ready."""

    @abstractmethod
    def check(self) -> None:
        """Raise PerceptionError if a process has died, or can do nothing."""

    def begin(self, seconds: float) -> None:  # noqa: B027  # most have nothing to do
        """Take notice that images are sent from now on, for so long."""

    @abstractmethod
    def finish(self) -> Outcome:
        """End its nodes, and return what they say."""


class PerceptionSystem(System):
    """The perception node, as launch starts it.

    :param parameters: of the node, besides those that follow from the scene.
    :param priorities: by camera.
    """

    def __init__(
        self,
        serving: Serving,
        parameters: Mapping[str, Any] | None = None,
        priorities: Mapping[str, int] | None = None,
    ) -> None:
        self._serving = serving
        self._parameters = parameters or {}
        self._priorities = priorities or {}

    def start(self, scene: Scene) -> None:
        """Start the listener and the node, which configures and activates itself."""
        topics = {name: f'/perception/{name}/detections' for name in scene.stream.names}
        self.listener = _listener(scene, topics)
        self._summary = scene.folder / 'summary.json'
        path = scene.folder / 'perception_node.yaml'
        content = {'/**': {'ros__parameters': self._node_parameters(scene)}}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        self._log = scene.folder / 'perception_node.log'
        self._node = scene.node(
            'perception_node', 'nodes.perception_node', '--params-file', str(path)
        )
        self.processes = [self._node.pid]

    def check(self) -> None:
        """Raise if the node has died, or has refused to work."""
        self._node.check()
        if why := refusal(self._log):
            raise BenchmarkError(f'perception_node {why}')

    def finish(self) -> Outcome:
        """End the node and read its summary."""
        self._node.stop()
        summary = cast(dict[str, Any], read_json(self._summary))
        if not summary:
            raise DemoError('perception_node wrote no summary as it ended', self._node.log_tail())
        stages = summary.get('latency_ms_by_stage', {})
        return Outcome(
            received=sum(summary['frames_received'].values()),
            stages_ms={name: Delays(**values) for name, values in stages.items()},
            dropped=summary['frames_dropped'],
        )

    def _node_parameters(self, scene: Scene) -> dict[str, Any]:
        stream, serving = scene.stream, self._serving
        camera = {
            'transport': 'compressed' if stream.encoding == 'jpeg' else 'raw',
            'reliability': stream.reliability,
        }
        return {
            'camera_names': list(stream.names),
            'model_names': [MODEL],
            'cameras': {
                name: {**camera, 'priority': self._priorities.get(name, 1)}
                for name in stream.names
            },
            'models': {MODEL: {
                'bundle': serving.bundle, 'backend': serving.backend,
                'max_batch': serving.max_batch, 'fake_duration_ms': serving.fake_ms,
            }},
            'autostart': True,
            'summary_file': str(self._summary),
            **self._parameters,
        }


class PlainSystem(System):
    """Plain nodes, one for each camera; see `plain_node.py`.

    :param detects: whether they detect; else they stop with the image in the engine's input.
    """

    def __init__(self, serving: Serving, *, detects: bool = True) -> None:
        self._serving = serving
        self._detects = detects

    def start(self, scene: Scene) -> None:
        """Start the listener and the nodes."""
        stream, serving = scene.stream, self._serving
        topics = {name: f'/{name}/detections' if self._detects else '' for name in stream.names}
        if self._detects:
            self.listener = _listener(scene, topics)
        self._nodes: list[NodeProcess] = []
        self._reports = [scene.folder / f'{name}.json' for name in stream.names]
        for name, report in zip(stream.names, self._reports, strict=True):
            # a dictionary, because what declares its fields needs ROS
            settings = {
                'topic': stream.topic(name), 'encoding': stream.encoding,
                'reliability': stream.reliability, 'bundle': serving.bundle,
                'backend': serving.backend, 'fake_ms': serving.fake_ms, 'output': topics[name],
                'report': str(report),
            }
            self._nodes.append(scene.node(name, 'rig.plain_node', '--', json.dumps(settings)))
        self.processes = [node.pid for node in self._nodes]

    def check(self) -> None:
        """Raise if a node has died."""
        for node in self._nodes:
            node.check()

    def finish(self) -> Outcome:
        """End the nodes and read how many images they had."""
        for node in self._nodes:
            node.stop()
        counts = [read_json(path).get('received') for path in self._reports]
        if not all(isinstance(count, int) for count in counts):
            raise DemoError('a plain node did not end well', self._nodes[0].log_tail())
        return Outcome(received=sum(cast(list[int], counts)))


class ReceiverSystem(System):
    """A subscriber to all cameras that only receives.

    :param way: as in `receiver.py`.
    """

    def __init__(self, way: str) -> None:
        self._way = way

    def start(self, scene: Scene) -> None:
        """Start it."""
        stream = scene.stream
        self.listener = scene.helper('receiver', 'rig.receiver', json.dumps({
            'topics': {name: stream.topic(name) for name in stream.names},
            'kind': stream.encoding, 'way': self._way, 'reliability': stream.reliability,
        }))
        self.processes = [self.listener.pid]

    def check(self) -> None:
        """Do nothing: whoever asks it will hear."""

    def finish(self) -> Outcome:
        """Say how many images came."""
        assert self.listener
        return Outcome(received=self.listener.ask('count', _ANSWER_S)['messages'])


class BareSystem(System):
    """An engine that is kept busy with nothing in between, and a subscriber that only receives."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._receiver = ReceiverSystem('intake')

    def start(self, scene: Scene) -> None:
        """Open the engine and fill its input; start the subscriber."""
        serving = self._serving
        self._engine = scene.helper('engine', 'benchmarks.worker')
        images, _ = letterboxed(pictures(scene.stream), Bundle.load(serving.bundle).manifest.input)
        np.save(scene.folder / 'images.npy', images)
        self._engine.ask(
            'open', _OPEN_S, bundle=serving.bundle, backend=serving.backend,
            options={'max_batch': serving.max_batch, 'fake_duration_ms': serving.fake_ms},
            images=str(scene.folder / 'images.npy'),
        )
        self._receiver.start(scene)
        self.processes = [self._engine.pid, *self._receiver.processes]
        self._seconds = 0.0

    def check(self) -> None:
        """Do nothing: whoever asks will hear."""

    def begin(self, seconds: float) -> None:
        """Keep the engine busy for so long."""
        self._collect()
        self._seconds = seconds
        self._engine.tell('keep_busy', seconds=seconds)

    def finish(self) -> Outcome:
        """Say how fast it was the last time."""
        outcome = self._receiver.finish()
        outcome.images_per_s = self._collect()
        return outcome

    def _collect(self) -> float:
        if not self._seconds:
            return 0.0
        answer = self._engine.answer('keep_busy', self._seconds + _ANSWER_S)
        return float(answer['images_per_s'])


def refusal(log: Path) -> str:
    """Return why a node says in its log that it does not work, '' if it does."""
    said = log.read_text(errors='replace')
    for words in _REFUSALS:
        if words in said:
            return words + said.partition(words)[2].partition('\n')[0]
    return ''


def _listener(scene: Scene, topics: Mapping[str, str]) -> WorkerProcess:
    """Start an observer of detections that misses none."""
    wanted = {
        'topics': dict(topics), 'kind': 'detections', 'reliability': 'reliable',
        'depth': _RESULTS_DEPTH,
    }
    return scene.helper('listener', 'rig.receiver', json.dumps(wanted))
