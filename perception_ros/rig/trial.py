"""One turn of one side, from start to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
import os
from pathlib import Path
import signal
import tempfile
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.benchmarks.live.figures import Delays, Heard, Sent, Turn
from perception_ros.benchmarks.live.settings import Absence, Stream, Timing, Transport
from perception_ros.benchmarks.live.usage import Usage
from perception_ros.benchmarks.process import WorkerProcess
from perception_ros.core.errors import BenchmarkError
from perception_ros.demo.processes import DemoError
from perception_ros.rig.scene import environment, Scene
from perception_ros.rig.systems import System
from perception_ros.ros.qos import SETTLE_S

_READY_S = 120.0
"""Engines are opened, processes begin and find each other."""
_LEAD_NS = 100_000_000
"""From the order to the first tick, so that all senders have heard it."""
_QUIET_S = 0.5
"""What has not come so long after anything else does not come."""
_DRAIN_S = 20.0
_ANSWER_S = 60.0
_LOOK_S = 0.2

Stamps = dict[str, NDArray[np.int64]]
"""By camera."""
Watch = Callable[[System], None]
"""Called often while the turn counts."""


def take_turn(
    system: System,
    transport: Transport,
    stream: Stream,
    timing: Timing,
    *,
    absences: Sequence[Absence] = (),
    stall_s: float = 0.0,
    watch: Watch = lambda system: None,
) -> Turn:
    """Start everything, send, measure, and end everything.

    :param absences: when cameras are gone while the turn counts.
    :param stall_s: how long the system stands still in the middle of the warm-up, so that its
        queues have been as full as they can be.
    :param watch: called several times a second meanwhile.
    :raises PerceptionError: a process does not do as it should; the last lines of its log are in
        the message.
    """
    with tempfile.TemporaryDirectory(prefix='rig-') as name, ExitStack() as stack:
        scene = Scene(stream, Path(name), environment(transport), stack)
        try:
            return _Trial(scene, system, timing, absences, stall_s, watch).turn()
        except DemoError as error:
            raise BenchmarkError(f'{error}\n{error.details}') from error


class _Trial:
    """The processes of one turn."""

    def __init__(
        self,
        scene: Scene,
        system: System,
        timing: Timing,
        absences: Sequence[Absence],
        stall_s: float,
        watch: Watch,
    ) -> None:
        self._scene = scene
        self._system = system
        self._timing = timing
        self._absences = absences
        self._stall_s = stall_s
        self._watch = watch

    def turn(self) -> Turn:
        """Play it through."""
        self._system.start(self._scene)
        self._senders = self._start_senders()
        self._wait_until_all_hear()
        warmed = self._warm_up()
        begin_ns, sent, stamps, usage = self._measure()
        heard = self._heard(stamps, begin_ns)
        outcome = self._system.finish()
        all_sent = sent.frames + warmed
        share = outcome.received / all_sent if outcome.received is not None and all_sent else None
        return Turn(
            sent=sent, received=outcome.received, heard=heard, images_per_s=outcome.images_per_s,
            used=usage.used(None if share is None else share * sent.frames),
            stages_ms=outcome.stages_ms, dropped=outcome.dropped,
        )

    def _start_senders(self) -> list[WorkerProcess]:
        stream = self._scene.stream
        is_one = stream.senders == 'one'
        groups = [stream.names] if is_one else [(name,) for name in stream.names]
        arguments = stream.model_dump_json()
        senders = []
        for group in groups:
            sender = self._scene.helper(f'sender_{group[0]}', stream.sender, arguments, *group)
            self._scene.stack.callback(sender.interrupt)
            senders.append(sender)
        return senders

    def _wait_until_all_hear(self) -> None:
        """Wait until each camera has its subscriber, and each result its publisher."""
        deadline = time.monotonic() + _READY_S
        waiting: list[str] = ['']
        while waiting:
            self._system.check()
            waiting = [
                f'nobody subscribes to {camera}' for sender in self._senders
                for camera in sender.ask('deaf', _ANSWER_S, subscribers=1)['cameras']
            ]
            if self._system.listener:
                silent = self._system.listener.ask('silent', _ANSWER_S)['cameras']
                waiting += [f'nobody publishes results of {camera}' for camera in silent]
            if waiting and time.monotonic() > deadline:
                raise BenchmarkError(f'{waiting[0]} within {_READY_S:g} s')
            time.sleep(_LOOK_S)
        time.sleep(SETTLE_S)

    def _warm_up(self) -> int:
        """Send what does not count, and return how many frames that were."""
        if not self._timing.warm_up_s:
            return 0
        self._system.begin(self._timing.warm_up_s)
        self._tell_senders(self._timing.warm_up_s)
        if self._stall_s:
            time.sleep(self._timing.warm_up_s / 2)
            self._stall()
        return self._answers(self._timing.warm_up_s).frames

    def _stall(self) -> None:
        """Let the system's processes stand still, as a machine that swaps does."""
        try:
            for process in self._system.processes:
                os.kill(process, signal.SIGSTOP)
            time.sleep(self._stall_s)
        finally:
            for process in self._system.processes:
                os.kill(process, signal.SIGCONT)

    def _measure(self) -> tuple[int, Sent, Stamps, Usage]:
        """Send what counts; return when that began on the clock of stamps, and what it gave."""
        seconds = self._timing.seconds
        begin_ns = self._tell_senders(seconds, self._absences)
        self._system.begin(seconds)
        _sleep_until(begin_ns)
        wall_ns = time.time_ns()
        usage = Usage(self._system.processes)
        end_ns = begin_ns + round(seconds * 1e9)
        while (left_ns := end_ns - time.monotonic_ns()) > 0:
            time.sleep(min(left_ns / 1e9, _LOOK_S))
            self._system.check()
            self._watch(self._system)
        usage.stop()
        sent = self._answers(seconds)
        stamps: Stamps = {}
        for index in range(len(self._senders)):
            with np.load(self._stamps_file(index)) as arrays:
                stamps |= dict(arrays)
        return wall_ns, sent, stamps, usage

    def _tell_senders(self, seconds: float, absences: Sequence[Absence] = ()) -> int:
        begin_ns = time.monotonic_ns() + _LEAD_NS
        for index, sender in enumerate(self._senders):
            sender.tell(
                'send', begin_ns=begin_ns, seconds=seconds, absences=list(absences),
                file=str(self._stamps_file(index)),
            )
        return begin_ns

    def _stamps_file(self, index: int) -> Path:
        return self._scene.folder / f'sent_{index}.npz'

    def _answers(self, seconds: float) -> Sent:
        answers = [sender.answer('send', seconds + _ANSWER_S) for sender in self._senders]
        return together([Sent.model_validate(answer) for answer in answers])

    def _heard(self, sent: Stamps, begin_ns: int) -> Heard | None:
        """Wait for the last results, and compare what came with what was sent."""
        listener = self._system.listener
        if listener is None:
            return None
        self._wait_until_quiet(listener)
        file = self._scene.folder / 'heard.npz'
        listener.ask('keep', _ANSWER_S, file=str(file))
        with np.load(file) as arrays:
            heard = dict(arrays)
        return account(
            sent, heard, begin_ns, self._timing.seconds, self._timing.deadline_ms
        )

    @staticmethod
    def _wait_until_quiet(listener: WorkerProcess) -> None:
        deadline = time.monotonic() + _DRAIN_S
        count, since_s = -1, time.monotonic()
        while time.monotonic() < deadline and time.monotonic() - since_s < _QUIET_S:
            if (now := listener.ask('count', _ANSWER_S)['messages']) != count:
                count, since_s = now, time.monotonic()
            time.sleep(_QUIET_S / 5)


def account(
    sent: Stamps,
    heard: dict[str, NDArray[np.int64]],
    begin_ns: int,
    seconds: float,
    deadline_ms: float | None = None,
) -> Heard:
    """Compare what was sent with what came of it.

    :param sent: stamps of the window, by camera.
    :param heard: int64 [n, 2] by camera: stamp and receipt, of the whole turn.
    """
    end_ns = begin_ns + round(seconds * 1e9)
    counts, delays_ms, within, lost = {}, [], 0, 0
    for camera, stamps in sent.items():
        came = heard[camera]
        within += int(((came[:, 1] >= begin_ns) & (came[:, 1] < end_ns)).sum())
        ours = came[np.isin(came[:, 0], stamps)]
        found = np.unique(ours[:, 0]).size
        counts[camera] = found
        lost += len(stamps) - found
        delays_ms.append((ours[:, 1] - ours[:, 0]) / 1e6)
    delays = np.concatenate(delays_ms) if delays_ms else np.zeros(0)
    return Heard(
        within=within, per_s=within / seconds, by_camera=counts, lost=lost,
        late=None if deadline_ms is None else int((delays > deadline_ms).sum()),
        delay_ms=Delays.of(delays),
    )


def together(parts: list[Sent]) -> Sent:
    """Return what several senders have sent; rate and lateness are those of the worst."""
    lateness = [part.lateness_ms for part in parts if part.lateness_ms]
    worst: Any = max(lateness, key=lambda delays: delays.p99, default=None)
    by_camera = {name: count for part in parts for name, count in part.by_camera.items()}
    return Sent(
        frames=sum(by_camera.values()), by_camera=by_camera,
        rate_hz=min(part.rate_hz for part in parts),
        asked_hz=max(part.asked_hz for part in parts),
        skipped_ticks=max(part.skipped_ticks for part in parts), lateness_ms=worst,
        cpu_cores=sum(part.cpu_cores for part in parts),
    )


def _sleep_until(due_ns: int) -> None:
    time.sleep(max(due_ns - time.monotonic_ns(), 0) / 1e9)
