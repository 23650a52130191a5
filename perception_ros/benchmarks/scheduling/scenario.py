"""Cameras and engines as they might be, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass
import random

import numpy as np

from perception_ros.core.image import Image
from perception_ros.core.types import Frame

SLOTS = 2
"""Calls that are under way at once, as in the node: one runs, one is prepared."""

NO_PIXELS = Image.from_array(np.zeros((1, 1, 3), np.uint8))
"""What all frames show: no policy looks at it."""


@dataclass(frozen=True)
class Camera:
    """One camera, whose `arrivals_ns` are when its frames come, rising."""

    name: str
    priority: int
    rate_hz: float
    arrivals_ns: tuple[int, ...]


@dataclass(frozen=True)
class Scenario:
    """Traffic, an engine, and what the integrator has set.

    An engine call takes base_ms + frames * frame_ms, times a noise around one (log-normal).
    """

    seed: int
    cameras: tuple[Camera, ...]
    load: float
    """Frames that come over those that the engine can take in calls of `max_batch`."""
    max_batch: int
    base_ms: float
    frame_ms: float
    noise: float
    delay_ms: float
    """Longest that a call may be held back to be filled up."""
    has_outages: bool

    @property
    def full_call_ms(self) -> float:
        """How long a call of `max_batch` takes, without noise."""
        return self.base_ms + self.max_batch * self.frame_ms

    @property
    def deadline_ms(self) -> float:
        """For the policy that has one, and for what counts as in time for all."""
        return self.delay_ms + (SLOTS + 1) * self.full_call_ms

    def frames(self) -> list[Frame]:
        """Return all frames in the order in which they come."""
        found = [
            Frame(camera.name, at_ns, at_ns, NO_PIXELS)
            for camera in self.cameras
            for at_ns in camera.arrivals_ns
        ]
        return sorted(found, key=lambda frame: frame.received_ns)


def draw(seed: int, seconds: float, load: tuple[float, float] = (0.3, 5.0)) -> Scenario:
    """Return the scenario of this seed: the same each time.

    :param load: least and greatest, each magnitude in between as likely as another.
    """
    chance = random.Random(seed)
    count = chance.randint(1, 12)
    common_hz = chance.uniform(5, 60)
    is_mixed, has_outages = chance.random() < 0.3, chance.random() < 0.3
    first = chance.randint(1, count) if chance.random() < 0.3 else 0
    jitter = chance.uniform(0, 0.3)
    cameras = []
    for index in range(count):
        rate_hz = chance.uniform(5, 60) if is_mixed else common_hz
        arrivals = _arrivals(chance, rate_hz, seconds, jitter, has_outages)
        cameras.append(Camera(f'c{index}', 1 if index < first else 2, rate_hz, arrivals))
    max_batch = chance.randint(1, count)
    drawn_load = load[0] * (load[1] / load[0]) ** chance.random()
    full_ms = 1000 * drawn_load * max_batch / sum(camera.rate_hz for camera in cameras)
    base_ms = full_ms * chance.uniform(0.2, 0.8)
    return Scenario(
        seed, tuple(cameras), drawn_load, max_batch, base_ms, (full_ms - base_ms) / max_batch,
        noise=chance.uniform(0, 0.2), delay_ms=chance.uniform(0, 500 / common_hz),
        has_outages=has_outages,
    )


def _arrivals(
    chance: random.Random, rate_hz: float, seconds: float, jitter: float, has_outages: bool
) -> tuple[int, ...]:
    """Return when the frames of a camera come; jitter is a share of its period."""
    period_ns = 1e9 / rate_hz
    phase_ns = 1e9 + chance.random() * period_ns
    lost = chance.uniform(0, 0.1) if has_outages else 0.0
    silent_from = chance.uniform(0, 1) if has_outages and chance.random() < 0.5 else 2.0
    silent_to = silent_from + chance.uniform(0.1, 0.5)
    count = round(seconds * rate_hz)
    found = set()
    for n in range(count):
        off = chance.uniform(-jitter, jitter)
        if chance.random() >= lost and not silent_from <= n / count < silent_to:
            found.add(round(phase_ns + (n + off) * period_ns))
    return tuple(sorted(found))
