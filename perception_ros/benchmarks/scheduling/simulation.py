"""One policy through one scenario, event by event."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
import random

from perception_ros.benchmarks.scheduling.policies import Policy
from perception_ros.benchmarks.scheduling.scenario import Camera, Scenario, SLOTS
from perception_ros.core.types import Frame

MIN_SHARE = 20
"""Cameras with fewer frames to get are left out of shares: one frame more is 5 % of them."""


@dataclass(frozen=True)
class Call:
    """An engine call that has ended: ns."""

    frames: tuple[Frame, ...]
    given_ns: int
    begun_ns: int
    ended_ns: int


@dataclass(frozen=True)
class Outcome:
    """What a policy made of a scenario."""

    scenario: Scenario
    calls: tuple[Call, ...]

    def ages_ms(self) -> list[float]:
        """Return the ages of all frames that were inferred, at completion."""
        return [
            (call.ended_ns - frame.received_ns) / 1e6
            for call in self.calls
            for frame in call.frames
        ]

    def bounds_ms(self, max_age_ms: float = 500.0) -> list[float]:
        """Return what our policy promises for each of `ages_ms`.

        A frame is chosen before its camera's next one comes, and before it is stale. From then it
        waits for the calls in the slots before it and for its own.
        """
        longest_ms = max(((call.ended_ns - call.begun_ns) / 1e6 for call in self.calls), default=0)
        following = {
            (camera.name, at_ns): (next_ns - at_ns) / 1e6
            for camera in self.scenario.cameras
            for at_ns, next_ns in zip(camera.arrivals_ns, camera.arrivals_ns[1:], strict=False)
        }
        return [
            min(following.get((frame.camera, frame.received_ns), max_age_ms), max_age_ms)
            + SLOTS * longest_ms
            for call in self.calls
            for frame in call.frames
        ]

    def utilisation(self) -> float:
        """Return the share of the time, from the first frame to the last, that the engine ran."""
        arrivals = [at_ns for camera in self.scenario.cameras for at_ns in camera.arrivals_ns]
        last_ns = max(arrivals)
        busy_ns = sum(
            max(min(call.ended_ns, last_ns) - call.begun_ns, 0) for call in self.calls
        )
        return busy_ns / max(last_ns - min(arrivals), 1)

    def unfairness(self) -> float:
        """Return how far the worst camera is from its fair share, as a part of it.

        Of what cameras of one priority and rate have got, each should have the same, and none more
        than it has sent. With outages this says nothing: fair shares change all the time.
        """
        served = Counter(frame.camera for call in self.calls for frame in call.frames)
        worst = 0.0
        kinds: dict[tuple[int, float], list[Camera]] = {}
        for camera in self.scenario.cameras:
            kinds.setdefault((camera.priority, camera.rate_hz), []).append(camera)
        for equals in kinds.values():
            for name, share in fair_shares(equals, served).items():
                if share >= MIN_SHARE:
                    worst = max(worst, abs(served[name] - share) / share)
        return worst


def fair_shares(equals: list[Camera], served: Mapping[str, int]) -> dict[str, float]:
    """Return what each camera should have got of all that these have got."""
    left = float(sum(served[camera.name] for camera in equals))
    shares = {}
    ordered = sorted(equals, key=lambda camera: len(camera.arrivals_ns))
    for index, camera in enumerate(ordered):
        shares[camera.name] = min(len(camera.arrivals_ns), left / (len(ordered) - index))
        left -= shares[camera.name]
    return shares


def simulate(scenario: Scenario, policy: Policy) -> Outcome:
    """Let the frames come, and run what the policy says, until nothing is left to run."""
    coming, running = deque(scenario.frames()), deque[Call]()
    chance = random.Random(scenario.seed)
    calls: list[Call] = []
    now_ns, free_ns = 0, 0
    while True:
        while len(running) < SLOTS and (frames := policy.next_call(now_ns)):
            begun_ns = max(now_ns, free_ns)
            free_ns = begun_ns + _duration_ns(scenario, len(frames), chance)
            running.append(Call(tuple(frames), now_ns, begun_ns, free_ns))
        times = [coming[0].received_ns] if coming else []
        if running:
            times.append(running[0].ended_ns)
        if len(running) < SLOTS and (wake_ns := policy.wake_ns()) is not None:
            times.append(wake_ns)
        if not times:
            return Outcome(scenario, tuple(calls))
        now_ns = min(times)
        while running and running[0].ended_ns <= now_ns:
            calls.append(running.popleft())
            policy.note_call(len(calls[-1].frames), now_ns - calls[-1].given_ns)
        while coming and coming[0].received_ns <= now_ns:
            policy.submit(coming.popleft())


def _duration_ns(scenario: Scenario, size: int, chance: random.Random) -> int:
    duration_ms = scenario.base_ms + size * scenario.frame_ms
    return round(duration_ms * 1e6 * chance.lognormvariate(0.0, scenario.noise))
