"""A small report, made by hand."""

from __future__ import annotations

from typing import Any

from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.report import (
    AccuracyRow,
    BackendState,
    BundleFacts,
    Difference,
    EngineFacts,
    EngineReport,
    EngineRow,
    EngineSettings,
)
from perception_ros.benchmarks.statistics import Latency, Spread

CPU = 'onnxruntime@cpu'


def spread(median: float) -> Spread:
    return Spread(median=median, p10=0.9 * median, p90=1.1 * median, samples=7)


def row(bundle: str, backend: str, batch: int, times: float, **changes: Any) -> EngineRow:
    """Return a row of an engine that is `times` as fast as the reference, which makes 20/s."""
    values: dict[str, Any] = {
        'problem': None,
        'engine': EngineFacts(backend=backend, device='cpu', precision=bundle[-4:]),
        'open_s': 1.0,
        'latency_ms': Latency(**spread(50 / times).model_dump(), p99=80 / times),
        'images_per_s': spread(20 * times),
        'latency_ratio': spread(times),
        'images_ratio': spread(times),
        'peak_memory_bytes': 200_000_000,
    }
    return EngineRow(bundle=bundle, backend=backend, batch=batch, **values | changes)


def report(**changes: Any) -> EngineReport:
    """Return a report of one model at two precisions, in two backends, of which one dies."""
    difference = Difference(
        images=12, box_px=0.0000041, score=0.25, boxes=40, lost=2, gained=1, mask_share=0.0125
    )
    common = {'sha256': '0123456789abcdef' * 4, 'bytes': 4_200_000, 'input': (640, 384)}
    values: dict[str, Any] = {
        'command': 'perception_ros bench engine net-fp32 net-int8',
        'measured': '2026-11-22T04:00:00+00:00',
        'environment': Environment.here(),
        'load_average_after': 1.5,
        'warnings': ('the machine was busy',),
        'settings': EngineSettings(
            rounds=7, seconds=0.5, images=12, threads=0, performance_hint='latency'
        ),
        'reference': CPU,
        'backends': (
            BackendState(name='onnxruntime', found='onnxruntime 1.31.1: cpu', reason=None),
            BackendState(name='tensorrt', found=None, reason='no GPU\n here'),
        ),
        'bundles': tuple(
            BundleFacts(name=f'net-{precision}', model='net', precision=precision, **common)
            for precision in ('fp32', 'int8')
        ),
        'rows': (
            row('net-fp32', CPU, 1, 1.0),
            row('net-fp32', CPU, 2, 1.0, difference=difference),
            row('net-int8', CPU, 1, 0.5, precision_ratio=spread(0.5), difference=difference),
            row('net-int8', CPU, 2, 2.5, precision_ratio=spread(2.5)),
            EngineRow(bundle='net-int8', backend='dies', batch=1, problem='signal SIGSEGV'),
        ),
        'accuracy': (
            AccuracyRow(
                bundle='net-int8', backend=CPU, batch=2, dataset='camvid:data@val', images=101,
                problem=None, figures={'map50': 0.5, 'miou': None},
            ),
            AccuracyRow(
                bundle='net-fp32', backend=CPU, batch=2, dataset='yolo:data', problem='disk full'
            ),
        ),
    }
    return EngineReport(**values | changes)
