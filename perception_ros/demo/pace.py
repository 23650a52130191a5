"""How many frame sets a second this machine can take, so that a demonstration shows them all."""

from __future__ import annotations

from collections.abc import Iterable
import time

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle

SLOWEST_HZ, FASTEST_HZ = 0.5, 10.0
"""A slower demonstration would try the patience of whoever watches, a faster one their eyes."""

_SHARE = 0.6
"""Of the time, for engines; the rest is for receiving, drawing and publishing."""


def comfortable_rate_hz(bundles: Iterable[Bundle], backend: str, cameras: int) -> float:
    """Return the rate at which all models get all frames, within bounds, to one digit.

    The models share one machine, so their times for one set add up. Each runs once to warm up and
    once to be timed.

    :raises PerceptionError: an engine cannot be opened, or fails.
    """
    seconds = sum(_seconds_for_a_set(bundle, backend, cameras) for bundle in bundles)
    rate_hz = min(max(_SHARE / max(seconds, 1e-6), SLOWEST_HZ), FASTEST_HZ)
    return float(f'{rate_hz:.1g}')


def _seconds_for_a_set(bundle: Bundle, backend: str, cameras: int) -> float:
    with open_engine(bundle, backend, EngineOptions(max_batch=cameras)) as engine:
        took_s = 0.0
        for _ in range(2):
            request = engine.request()
            try:
                request.images[:cameras] = 114
                begun_s = time.perf_counter()
                request.start(cameras)
                request.result()
                took_s = time.perf_counter() - begun_s
            finally:
                request.release()
        return took_s
