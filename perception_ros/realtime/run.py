"""A bag against the running node: `play_realtime` is the whole of it.

The player says what it publishes, the node's frame log what becomes of it, and the listener what
arrives; the account holds the three against each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
import time
from typing import Any

from perception_ros.bags.bag import open_bag, Topic
from perception_ros.core.errors import ReplayError
from perception_ros.core.topics import topic_names
from perception_ros.demo.processes import DemoError
from perception_ros.realtime.account import Account
from perception_ros.realtime.figures import camera_figures, pace_figures
from perception_ros.realtime.interrupt import asked_to_end
from perception_ros.realtime.listener import ResultListener
from perception_ros.realtime.node import APPEAR_S, node_at_work, NodeAtWork
from perception_ros.realtime.options import RealtimeOptions, topics_beside
from perception_ros.realtime.player import Pace, Player
from perception_ros.realtime.usage import Usage
from perception_ros.replay.job import Job, Tell
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.summary import REALTIME_FIGURES
from perception_ros.ros.qos import SETTLE_S

_CONFIGURE_S = 360.0
"""An engine may have to be built."""
_QUIET_S = 3.0
"""What has not come so long after anything else does not come."""
_GIVE_UP_NS = 60_000_000_000
"""And what is so old neither, while others go on."""
_FINISH_S = 60.0
_SPIN_S = 0.02


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
        job = Job(options, bag)
        beside = topics_beside(job, live)
        job.begin({
            'rate': live.rate, 'loop': live.loop, 'node': live.node, 'topics': sorted(beside),
        })
        if job.folder.is_finished:
            return Ending()
        if options.resume and job.folder.parts():
            raise ReplayError(
                f'{job.folder.path} cannot be gone on with: what is played in real time is played '
                'as a whole. Begin anew with --overwrite'
            )
        run = _Run(job, live, beside, tell)
        ending = run.go()
    job.join()
    about = job.folder.read_about()
    job.folder.write_about({**about, REALTIME_FIGURES: run.figures(ending)})
    return ending


class _Run:
    """One run, from the start of the node to its end."""

    def __init__(
        self, job: Job, live: RealtimeOptions, beside: Mapping[str, Topic], tell: Tell
    ) -> None:
        self._job = job
        self._live = live
        self._beside = beside
        self._tell = tell
        self._account = Account(job, has_log=not live.node)
        self._usage = Usage()
        self._pace = Pace()

    def go(self) -> Ending:
        """Play, until the end or whatever comes before, and keep what came of it."""
        with ExitStack() as stack:
            player, ending = self._play_through(stack)
            self._account.settle()
            if player.error and not ending.problem:
                ending = Ending(f'the bag cannot be played on: {player.error}')
            if not player.pace.late.total:
                self._job.bag.note('there is no image of these cameras in this time')
            self._account.finish([*dict.fromkeys([*self._job.bag.problems, *player.problems])])
            self._pace = player.pace
            return ending

    def figures(self, ending: Ending) -> dict[str, Any]:
        """Return what was measured, ready for JSON; the tables are joined."""
        ledger, pace = self._account.ledger, pace_figures(self._pace, self._live.rate)
        cameras = camera_figures(self._job.folder.path, ledger, pace['played_s'])
        totals = ('published', 'inferred', 'dropped', 'superseded')
        return {
            'pace': pace,
            **{name: sum(item[name] for item in cameras.values()) for name in totals},
            'cameras': cameras,
            'node': self._usage.as_json(),
            'strays': ledger.strays,
            'ended_by': ending.problem,
        }

    def _play_through(self, stack: ExitStack) -> tuple[Player, Ending]:
        """Play; once that has begun, whatever ends it is no error of this function.

        :param stack: of what is written, which ends later than processes and nodes.
        """
        frame_log = self._account.frame_log
        with asked_to_end() as asked, node_at_work(self._job, self._live, frame_log) as node:

            def check() -> None:
                if asked:
                    raise KeyboardInterrupt
                node.check()

            with ResultListener(node.domain, check) as listener:
                player = self._meet(listener, node)
                stack.enter_context(self._account.open())
                try:
                    self._play(listener, player, node)
                except KeyboardInterrupt:
                    return player, Ending('interrupted', is_interrupt=True)
                except DemoError as error:
                    return player, Ending(str(error), error.details)
                finally:
                    player.stop()  # before the node, in which it publishes, goes
        return player, Ending()

    def _meet(self, listener: ResultListener, node: NodeAtWork) -> Player:
        """Lead the node to where it takes images, and return a player that it listens to.

        :raises DemoError: it does not come to that.
        """
        outputs = {name: self._job.outputs(name) for name in self._job.manifests}
        names = {
            key: f'{node.namespace}/{topic}'
            for key, topic in topic_names(self._job.config, outputs).items()
        }
        try:
            if node.process:
                listener.change_state('configure', APPEAR_S + _CONFIGURE_S)
            listener.listen(names, self._account.hear)
            if node.process:
                listener.change_state('activate', APPEAR_S)
            listener.wait_for(names.values(), node.patience_s)
            player = Player(
                listener.node, self._job, self._live, self._beside, self._account.told
            )
            self._wait_until_heard(listener, player, node)
        except DemoError as error:
            raise DemoError(str(error), error.details or node.log_tail()) from error
        return player

    def _wait_until_heard(
        self, listener: ResultListener, player: Player, node: NodeAtWork
    ) -> None:
        deadline = time.monotonic() + node.patience_s
        while not player.is_heard():
            listener.spin(_SPIN_S)
            if time.monotonic() > deadline:
                raise DemoError(
                    f'nobody listens to {", ".join(self._job.topics.values())}: expected a node '
                    f'in {node.namespace} that is active and takes these topics, of their type'
                )
        listener.spin(SETTLE_S)

    def _play(self, listener: ResultListener, player: Player, node: NodeAtWork) -> None:
        """Play to the end, and wait until nothing more comes of it."""
        self._usage.begin(node.process)
        player.start()
        while player.is_playing:
            self._step(listener, player)
        self._usage.end()
        ledger = self._account.ledger
        last_s, settled = time.monotonic(), -1
        while not ledger.is_settled and time.monotonic() - last_s < _QUIET_S:
            if settled != ledger.settled:
                last_s, settled = time.monotonic(), ledger.settled
            self._step(listener, player)
        if node.process:
            listener.change_state('deactivate', _FINISH_S)
            listener.spin(SETTLE_S)

    def _step(self, listener: ResultListener, player: Player) -> None:
        """Take what has come, and keep what is settled."""
        listener.spin(_SPIN_S)
        self._account.update(time.monotonic_ns() - _GIVE_UP_NS)
        self._usage.look()
        self._tell((player.round + self._job.share(player.now_ns)) / self._live.loop)
