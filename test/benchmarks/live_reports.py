"""Reports of running nodes, made by hand."""

from __future__ import annotations

from typing import Any

from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.live.figures import Delays, Heard, Sent, Turn, Used
from perception_ros.benchmarks.live.reports import PipelineReport, side_ratios, side_rows
from perception_ros.benchmarks.live.settings import Serving, Stream, Timing
from perception_ros.benchmarks.rounds import Side

STREAM = Stream(cameras=2, width=64, height=48, rate_hz=10)
SERVING = Serving(bundle='means', backend='fake', fake_ms=5, max_batch=2)
TIMING = Timing(rounds=3, warm_up_s=1, seconds=2)


def turn(*, per_s: float = 20.0, lost: int = 0, delay_ms: float = 8.0, cpu: float = 1.0) -> Turn:
    """Return a turn in which 40 frames were sent."""
    counts = {'camera1': 20 - lost, 'camera2': 20}
    delays = Delays(p50=delay_ms / 2, p95=delay_ms * 0.9, p99=delay_ms, max=2 * delay_ms)
    return Turn(
        sent=Sent(
            frames=40, by_camera={'camera1': 20, 'camera2': 20}, rate_hz=10.0, asked_hz=10.0,
            skipped_ticks=1,
            lateness_ms=Delays(p50=0.1, p95=0.2, p99=0.3, max=0.4), cpu_cores=0.1,
        ),
        received=60,
        heard=Heard(
            within=40 - lost, per_s=per_s, by_camera=counts, lost=lost, late=None,
            delay_ms=delays,
        ),
        used=Used(
            cpu_cores=0.5, cpu_ms_per_frame=cpu, peak_memory_bytes=300_000_000,
            memory_growth_bytes=0, threads=(9, 9), open_files=(20, 20),
        ),
        stages_ms={'prepare': delays}, dropped={'superseded': lost},
    )


def side(*turns: Turn, problem: str | None = None) -> Side[Turn]:
    return Side(lambda: turns[0], list(turns), problem)


def pipeline_report(**changes: Any) -> PipelineReport:
    """Return a report in which the node costs a quarter of the plain nodes."""
    sides = {
        'node': side(*(turn(cpu=cpu) for cpu in (1.0, 2.0, 3.0))),
        'plain@default': side(*(turn(cpu=4 * cpu, delay_ms=80, lost=4) for cpu in (1.0, 2.0))),
        'bare': side(problem='no engine'),
    }
    pairs = [
        ('cpu_ms_per_frame', 'node', 'plain@default'), ('cpu_ms_per_frame', 'node', 'bare'),
        ('delay_p99_ms', 'node', 'plain@default'),
    ]
    values: dict[str, Any] = {
        'command': 'perception_ros bench pipeline',
        'measured': '2026-11-26T18:00:00+00:00',
        'environment': Environment.here(),
        'load_average_after': 1.0,
        'warnings': ('the machine was busy',),
        'middleware': 'wheels, default RMW',
        'stream': STREAM,
        'timing': TIMING,
        'serving': SERVING,
        'rows': side_rows(sides),
        'ratios': side_ratios(sides, pairs),
    }
    return PipelineReport(**values | changes)
