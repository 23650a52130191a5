"""A bag against the running node: `play_realtime` is the whole of it.

The player says what it publishes, the node's frame log what becomes of it, and the listener what
arrives; the ledger holds the three against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
import json
from pathlib import Path
from queue import Empty, SimpleQueue
import signal
import time
from typing import Any

import numpy as np
import yaml

from perception_ros.bags.bag import Bag, Message, open_bag, Topic
from perception_ros.bags.frames import GROUND_TRUTH
from perception_ros.bags.messages import boxes_of, COMPRESSED_IMAGE
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import ConfigError, ReplayError
from perception_ros.core.machine import cpu_seconds, peak_memory_bytes
from perception_ros.core.topics import topic_names
from perception_ros.core.types import Detections
from perception_ros.demo.processes import DemoError, NodeProcess
from perception_ros.faults.inject import Touch
from perception_ros.realtime.figures import camera_figures, pace_figures
from perception_ros.realtime.ledger import Ledger, Publication
from perception_ros.realtime.listener import ResultListener, unpack
from perception_ros.realtime.player import Player
from perception_ros.realtime.recorder import Recorder
from perception_ros.replay.inputs import choose_cameras
from perception_ros.replay.journal import Journal
from perception_ros.replay.parts import RunFolder
from perception_ros.replay.run import (
    about_run,
    engines_first,
    injector,
    join_parts,
    messages_of,
    ReplayOptions,
    Tell,
)
from perception_ros.replay.summary import REALTIME_FIGURES
from perception_ros.ros.domain import (
    chosen_domain,
    environment_of,
    free_domain,
    private_environment,
)

NAMESPACE = '/perception'
NO_TOPICS = 'none'
"""Instead of names of topics: images alone."""

_CONFIGURE_S = 360.0
"""An engine may have to be built."""
_APPEAR_S = 60.0
_THERE_S = 10.0
"""A node that runs already is found within this time."""
_SETTLE_S = 0.5
"""A publisher knows its subscriber before the subscriber knows it."""
_QUIET_S = 3.0
"""What has not come so long after anything else does not come."""
_GIVE_UP_NS = 60_000_000_000
"""And what is so old neither, while others go on."""
_FINISH_S = 60.0
_SPIN_S = 0.02

_NOT_PLAYED = ('/clock', '/rosout', '/parameter_events', '/diagnostics')
"""What ROS, or the node, or we say ourselves."""


@dataclass(frozen=True, slots=True)
class RealtimeOptions:
    """How it is played."""

    rate: float = 1.0
    loop: int = 1
    """How many times."""
    node: str = ''
    """Namespace of a node that runs already; '' to start one."""
    topics: tuple[str, ...] = ()
    """Which are played besides images: all if empty, none if `NO_TOPICS`."""

    def __post_init__(self) -> None:
        """Raise ReplayError for what cannot be."""
        if self.node and not self.node.startswith('/'):
            raise ReplayError(
                f'node {self.node!r}: expected the namespace of a running node, such as '
                f'{NAMESPACE}'
            )


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended; both are empty where it was played to its end."""

    problem: str = ''
    details: str = ''
    """The last lines of the node's log."""
    is_interrupt: bool = False


def play_realtime(
    options: ReplayOptions, live: RealtimeOptions, tell: Tell = lambda share: None
) -> Ending:
    """Play a bag through DDS, and write what came of it into the output folder.

    Whatever ends it, processes are stopped and what came is kept.

    :raises PerceptionError: nothing can be played: the bag, the configuration or the node is not
        as it should be.
    """
    with open_bag(options.bag) as bag:
        config, topics = choose_cameras(bag, engines_first(options.config), options.cameras)
        injector(options.faults, bag, config, topics)  # says now what is wrong with the faults
        others = _others(bag, topics, live)
        bundles = {
            name: Bundle.load(model.bundle or name) for name, model in config.models.items()
        }
        folder = RunFolder(options.output)
        how = {'rate': live.rate, 'loop': live.loop, 'node': live.node, 'topics': sorted(others)}
        folder.begin(
            about_run(options, bag, config, topics, bundles, how),
            resume=options.resume, overwrite=options.overwrite,
        )
        if folder.is_finished:
            return Ending()
        if options.resume and folder.parts():
            raise ReplayError(
                f'{folder.path} cannot be gone on with: what is played in real time is played as '
                'a whole. Begin anew with --overwrite'
            )
        manifests = {name: bundle.manifest for name, bundle in bundles.items()}
        run = _Run(options, live, bag, config, topics, others, manifests, folder, tell)
        ending = run.go()
    join_parts(folder, config, manifests, has_results=options.has_results)
    folder.write_about({**folder.read_about(), REALTIME_FIGURES: run.figures(ending)})
    return ending


class _Run:
    """One run, from the start of the node to its end."""

    def __init__(
        self,
        options: ReplayOptions,
        live: RealtimeOptions,
        bag: Bag,
        config: PerceptionConfig,
        topics: Mapping[str, str],
        others: Mapping[str, Topic],
        manifests: Mapping[str, Manifest],
        folder: RunFolder,
        tell: Tell,
    ) -> None:
        self._options = options
        self._live = live
        self._bag = bag
        self._config = config
        self._topics = topics
        self._others = others
        self._manifests = manifests
        self._folder = folder
        self._tell = tell
        self._journal = Journal()
        self._recorder: Recorder | None = None
        """From when on there is something to keep."""
        models = {
            camera: frozenset(m for m in config.models if camera in config.cameras_of(m))
            for camera in config.cameras
        }
        self._outputs = {
            name: manifest.outputs if options.has_results
            else manifest.outputs & {'detections'} or manifest.outputs
            for name, manifest in manifests.items()
        }
        self._ledger = Ledger(self._journal, models, self._outputs, has_log=not live.node)
        self._told: SimpleQueue[Publication | Touch] = SimpleQueue()
        self._log = folder.path / 'frames.jsonl'
        self._log_at = 0
        self._usage = _Usage()
        self._player: Player | None = None

    def go(self) -> Ending:
        """Play, until the end or whatever comes before."""
        with ExitStack() as stack:
            return self._keep(self._play_through(stack))

    def _play_through(self, outer: ExitStack) -> Ending:
        """Play; once that has begun, whatever ends it is no error of this function."""
        with _asked_to_end() as asked, ExitStack() as stack:
            try:
                self._play(stack, outer, asked)
            except KeyboardInterrupt:
                if self._player is None:
                    raise
                return Ending('interrupted', is_interrupt=True)
            except DemoError as error:
                if self._player is None:
                    raise
                return Ending(str(error), error.details)
            finally:
                if self._player:  # before the node, in which it publishes, goes
                    self._player.stop()
        return Ending()

    def _keep(self, ending: Ending) -> Ending:
        """Settle and write what is left, and say how it ended."""
        player, recorder = self._player, self._recorder
        assert player and recorder, 'they were made, or an error has been raised'
        self._drain()
        self._ledger.give_up()
        if player.error and not ending.problem:
            ending = Ending(f'the bag cannot be played on: {player.error}')
        if not player.pace.late.total:
            self._bag.note('there is no image of these cameras in this time')
        recorder.finish([*dict.fromkeys([*self._bag.problems, *player.problems])])
        self._log.unlink(missing_ok=True)
        return ending

    def figures(self, ending: Ending) -> dict[str, Any]:
        """Return what was measured, ready for JSON; the tables are joined."""
        assert self._player is not None, 'it was played'
        pace = pace_figures(self._player.pace, self._live.rate)
        cameras = camera_figures(self._folder.path, self._ledger, pace['played_s'])
        totals = ('published', 'inferred', 'dropped', 'superseded')
        return {
            'pace': pace,
            **{name: sum(item[name] for item in cameras.values()) for name in totals},
            'cameras': cameras,
            'node': self._usage.as_json(),
            'strays': self._ledger.strays,
            'ended_by': ending.problem,
        }

    def _play(self, stack: ExitStack, outer: ExitStack, asked: list[int]) -> None:
        """Play.

        :param stack: of processes and nodes, which end with the playing,
        :param outer: and of what is written, which ends later.
        """
        node: NodeProcess | None = None

        def check() -> None:
            if asked:
                raise KeyboardInterrupt
            if node:
                node.check()

        chosen = chosen_domain()
        if self._live.node:
            domain = chosen or 0
        else:
            domain = free_domain() if chosen is None else chosen
            environment = private_environment(domain)
            stack.enter_context(environment_of(environment))
            node = stack.enter_context(NodeProcess(
                'perception_ros.nodes.perception_node',
                ['--params-file', str(self._write_parameters()), '-p', 'use_sim_time:=true'],
                self._folder.path / 'perception_node.log', environment,
            ))
        listener = stack.enter_context(ResultListener(domain, check))
        namespace = self._live.node or NAMESPACE
        names = {
            key: f'{namespace}/{topic}'
            for key, topic in topic_names(self._config, self._outputs).items()
        }
        patience_s = _APPEAR_S if node else _THERE_S
        try:
            if node:
                listener.change_state('configure', _APPEAR_S + _CONFIGURE_S)
            listener.listen(names, self._hear)
            if node:
                listener.change_state('activate', _APPEAR_S)
            listener.wait_for(names.values(), patience_s)
            player = self._make_player(listener)
            deadline = time.monotonic() + patience_s
            while not player.is_heard():
                listener.spin(_SPIN_S)
                if time.monotonic() > deadline:
                    raise DemoError(
                        f'nobody listens to {", ".join(self._topics.values())}: expected a node '
                        f'in {namespace} that is active and takes these topics, of their type'
                    )
            listener.spin(_SETTLE_S)
        except DemoError as error:
            details = error.details or (node.log_tail() if node else '')
            raise DemoError(str(error), details) from error
        self._recorder = outer.enter_context(Recorder(
            self._folder, self._journal, self._config, self._manifests,
            has_results=self._options.has_results,
        ))
        self._player = player
        self._usage.begin(node)
        player.start()
        while player.is_playing:
            self._step(listener, player)
        self._usage.end()
        last_s, settled = time.monotonic(), -1
        while not self._ledger.is_settled and time.monotonic() - last_s < _QUIET_S:
            if settled != self._ledger.settled:
                last_s, settled = time.monotonic(), self._ledger.settled
            self._step(listener, player)
        if node:
            listener.change_state('deactivate', _FINISH_S)
            listener.spin(_SETTLE_S)

    def _step(self, listener: ResultListener, player: Player) -> None:
        """Take what has come, and keep what is settled."""
        listener.spin(_SPIN_S)
        self._drain()
        self._ledger.give_up(time.monotonic_ns() - _GIVE_UP_NS)
        if self._recorder:
            self._recorder.keep(self._ledger.settled, list(self._bag.problems))
        self._usage.look()
        start_ns = self._bag.start_ns + round((self._options.start_s or 0.0) * 1e9)
        end_ns = self._bag.end_ns
        if self._options.end_s is not None:
            end_ns = self._bag.start_ns + round(self._options.end_s * 1e9)
        share = (player.now_ns - start_ns) / max(end_ns - start_ns, 1)
        self._tell((player.round + min(max(share, 0.0), 1.0)) / self._live.loop)

    def _drain(self) -> None:
        """Take what the player and the node have written; the player's words come first."""
        self._take_told()
        if not self._log.exists():
            return
        with self._log.open('rb') as log:
            log.seek(self._log_at)
            for line in log:
                if not line.endswith(b'\n'):  # it is still being written
                    break
                self._log_at += len(line)
                self._ledger.read(json.loads(line))

    def _take_told(self) -> None:
        while True:
            try:
                told = self._told.get_nowait()
            except Empty:
                return
            if isinstance(told, Publication):
                self._ledger.publish(told)
            else:
                self._journal.touched(told)

    def _hear(
        self, camera: str, model: str, output: str, stamp_ns: int, frame_id: str,
        received_ns: int, message: bytes,
    ) -> None:
        if self._recorder is None:  # of a node that runs already, and has heard others
            return
        self._take_told()
        found = None
        bag_stamp_ns = self._ledger.bag_stamp_ns(camera, stamp_ns)
        if output == 'detections':
            found = _detections(message, self._manifests[model])
            self._recorder.write_detections(camera, model, bag_stamp_ns, frame_id, found)
        else:
            self._recorder.write_mask(camera, model, output, bag_stamp_ns, message)
        self._ledger.hear(camera, stamp_ns, model, output, received_ns, found)

    def _make_player(self, listener: ResultListener) -> Player:
        cameras = {topic: camera for camera, topic in self._topics.items()}
        topics = {**self._others, **{name: self._bag.topics[name] for name in cameras}}
        start_s = self._options.start_s
        return Player(
            listener.node, self._options.bag, topics, cameras,
            [c for c, camera in self._config.cameras.items() if camera.stamp_source == 'arrival'],
            lambda bag, turn: self._messages(bag, topics, turn), self._told,
            rate=self._live.rate, rounds=self._live.loop,
            latched_before_ns=self._bag.start_ns + round(start_s * 1e9) if start_s else None,
        )

    def _messages(self, bag: Bag, topics: Mapping[str, Topic], turn: int) -> Iterator[Message]:
        """Return what is played in a round, with its faults, which are told of once."""
        faults = injector(self._options.faults, bag, self._config, self._topics)
        touched = (lambda touch: None) if turn else self._told.put
        return messages_of(self._options, bag, faults, topics, touched)

    def _write_parameters(self) -> Path:
        """Write the node's own parameters: the configuration with the topics of the bag."""
        content = self._config.model_dump(mode='json', exclude_defaults=True)
        for name, topic in self._topics.items():
            types = self._bag.topics[topic].types
            content['cameras'][name] |= {
                'topic': topic,
                'transport': 'compressed' if types[0] == COMPRESSED_IMAGE else 'raw',
                'stamp_source': 'header',  # the player gives them the stamps that they need
            }
        content |= {
            'camera_names': list(self._config.cameras), 'model_names': list(self._config.models),
            'frame_log': str(self._log.resolve()), 'autostart': False, 'build_only': False,
        }
        content.pop('summary_file', None)
        path = self._folder.path / 'perception_node.yaml'
        text = yaml.safe_dump({'/**': {'ros__parameters': _filled(content)}}, sort_keys=False)
        with self._folder.writing():
            path.write_text(text, encoding='utf-8')
        return path


class _Usage:
    """What a process uses while the bag is played; looked at often, for it may die."""

    def __init__(self) -> None:
        self._process: NodeProcess | None = None
        self._begun_s = self._last_s = 0.0
        self._cpu_begun_s = self._cpu_s = 0.0
        self._peak_bytes = 0
        self._is_over = False

    def begin(self, process: NodeProcess | None) -> None:
        """Count from now on."""
        self._process = process
        self._begun_s = self._last_s = time.monotonic()
        if process:
            self._cpu_begun_s = self._cpu_s = cpu_seconds(process.pid)

    def look(self) -> None:
        """Take the figures of now."""
        if self._process and (peak := peak_memory_bytes(process=self._process.pid)):
            self._peak_bytes = max(self._peak_bytes, peak)
            if not self._is_over:
                self._cpu_s = cpu_seconds(self._process.pid) or self._cpu_s
                self._last_s = time.monotonic()

    def end(self) -> None:
        """Count no longer what is computed."""
        self.look()
        self._is_over = True

    def as_json(self) -> dict[str, float | None]:
        """Return the figures; null where the process is not ours."""
        took_s = self._last_s - self._begun_s
        is_known = bool(self._process and took_s and self._peak_bytes)
        return {
            'cpu_cores': (
                round((self._cpu_s - self._cpu_begun_s) / took_s, 3) if is_known else None
            ),
            'peak_memory_mb': round(self._peak_bytes / 2**20, 1) if is_known else None,
        }


def _others(bag: Bag, cameras: Mapping[str, str], live: RealtimeOptions) -> dict[str, Topic]:
    """Return the topics that are played besides the images of the cameras.

    :raises ConfigError: a name is of no topic.
    """
    images = set(cameras.values())
    if live.topics == (NO_TOPICS,):
        return {}
    if unknown := sorted(set(live.topics) - set(bag.topics)):
        raise ConfigError(
            f'there are no topics {", ".join(unknown)}: expected some of '
            f'{", ".join(bag.topics)}, or {NO_TOPICS}'
        )
    own = f'{live.node or NAMESPACE}/'
    said = {f'{own}{camera}/' for camera in cameras}
    return {
        name: topic for name, topic in bag.topics.items()
        if name not in images and name not in _NOT_PLAYED
        and (name in live.topics if live.topics else GROUND_TRUTH not in name.split('/'))
        and not (name.startswith(tuple(said)) and not name.endswith('/camera_info'))
    }


def _detections(message: bytes, manifest: Manifest) -> Detections:
    """Return a message as the core has it; labels count the classes of the bundle."""
    assert manifest.detection is not None, 'it has such a topic'
    names = tuple(item.name for item in manifest.detection.classes)
    content = unpack(message)
    boxes, classes = boxes_of(content)
    scores = [item.results[0].hypothesis.score for item in content.detections]
    return Detections(
        np.asarray(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32),
        np.array([names.index(str(name)) for name in classes], np.int32), names,
    )


def _filled(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is empty: ROS has no such parameters."""
    found = {
        key: _filled(value) if isinstance(value, Mapping) else value for key, value in tree.items()
    }
    return {key: value for key, value in found.items() if value not in ({}, [])}


@contextmanager
def _asked_to_end() -> Iterator[list[int]]:
    """Take notice of SIGINT and SIGTERM, so that nothing is left half-written; the second ends."""
    asked: list[int] = []
    before = {}

    def notice(number: int, frame: object) -> None:
        asked.append(number)
        if len(asked) > 1:
            raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, notice)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
