"""What a message costs its subscriber, by transport and by the way it is taken."""

from __future__ import annotations

from functools import partial
from typing import get_args

from perception_ros.benchmarks.live.reports import TransportReport
from perception_ros.benchmarks.live.settings import Stream, Timing, Transport
from perception_ros.benchmarks.report import Occasion
from perception_ros.rig.compare import Announce, compare, Contender, facts
from perception_ros.rig.systems import ReceiverSystem

WAYS = ('typed', 'raw', 'intake')
"""As in `receiver.py`: rclpy's two, and the perception node's."""
USUAL = 'typed@default'
"""What all others are compared with."""


def measure(
    stream: Stream, timing: Timing, announce: Announce, *, command: str
) -> TransportReport:
    """Measure every way on both transports."""
    occasion = Occasion(command)
    contenders = {
        f'{way}@{transport}': Contender(partial(ReceiverSystem, way), transport, stream)
        for transport in get_args(Transport) for way in WAYS
    }
    sides = compare(contenders, timing, announce)
    pairs = [
        (figure, side, USUAL) for side in sides if side != USUAL
        for figure in ('cpu_ms_per_frame', 'delay_p50_ms', 'delay_p99_ms')
    ]
    return TransportReport(**facts(occasion, stream, timing, sides, pairs))
