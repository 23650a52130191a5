"""A report as tables of text, for a terminal and for a page alike."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from perception_ros.benchmarks.report import Difference, EngineReport, EngineRow
from perception_ros.benchmarks.statistics import Latency, Spread

SURE_CALLS = 100
"""Fewer have no 99th percentile."""
NOISE = 0.3
"""A spread of 10 % to 90 % beyond this share of the median is not the engine's own."""


class Grid(NamedTuple):
    """A table; its numeric columns are those from `first_number` on."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    first_number: int


def grids(report: EngineReport) -> Iterator[Grid]:
    """Yield all tables that have something to say."""
    for model in report.models:
        rows = [row for row in report.rows_of(model) if row.problem is None]
        if rows:
            yield _speed(report, model, rows)
    for grid in (_lower_precision(report), _answers(report), _accuracy(report)):
        if grid.rows:
            yield grid


def not_measured(report: EngineReport) -> Iterator[str]:
    """Yield a line for each backend, configuration or data set without figures, and why."""
    for state in report.backends:
        if state.reason is not None:
            yield f'{state.name}: {state.reason}'
    for row in report.rows:
        if row.problem is not None:
            yield f'{row.bundle} in {row.backend}, batch {row.batch}: {row.problem}'
    for item in report.accuracy:
        if item.problem is not None:
            yield f'{item.bundle} in {item.backend} on {item.dataset}: {item.problem}'


def doubts(rows: Iterable[EngineRow]) -> Iterator[str]:
    """Yield what the spread of the figures themselves makes doubtful."""
    measured = [row for row in rows if row.images_per_s]
    noisy = [row for row in measured if row.images_per_s and row.images_per_s.width > NOISE]
    if noisy:
        yield (
            f'in {len(noisy)} of {len(measured)} rows images/s vary by more than {NOISE:.0%} '
            'between rounds: something else was running'
        )


def number(value: float | None) -> str:
    """Return three significant digits without an exponent, or a dash for nothing."""
    if value is None:
        return '-'
    if value == 0 or abs(value) >= 100:
        return f'{value:.0f}'
    text = f'{value:.3g}'
    return f'{value:.8f}'.rstrip('0') if 'e' in text else text


def with_range(spread: Spread | None) -> str:
    """Return the median, and where eight of ten samples lie."""
    if spread is None:
        return '-'
    return f'{number(spread.median)} ({number(spread.p10)} to {number(spread.p90)})'


def verdict(ratio: Spread) -> str:
    """Say what a ratio of speeds shows, if eight of ten rounds agree."""
    if ratio.p10 > 1:
        return 'faster'
    return 'slower' if ratio.p90 < 1 else 'no clear difference'


def _speed(report: EngineReport, model: str, rows: list[EngineRow]) -> Grid:
    columns = (
        'precision', 'backend', 'batch', 'p50, ms', 'p99, ms', 'images/s', '× reference',
        'memory, MB',
    )
    return Grid(model, columns, [_speed_row(report, row) for row in rows], 2)


def _speed_row(report: EngineReport, row: EngineRow) -> tuple[str, ...]:
    latency, rate, ratio = row.latency_ms, row.images_per_s, row.images_ratio
    assert latency and rate, 'a row without a problem has figures'
    memory = number((row.peak_memory_bytes or 0) / 1e6)
    if row.device_memory_bytes:
        memory += f' + {number(row.device_memory_bytes / 1e6)} on the GPU'
    return (
        _precision(report, row), row.backend, str(row.batch),
        number(latency.median), _p99(latency), with_range(rate), with_range(ratio), memory,
    )


def _precision(report: EngineReport, row: EngineRow) -> str:
    """Return the graph's precision, and what the engine makes of it if that is another."""
    stated = report.bundle(row.bundle).precision
    real = row.engine.precision if row.engine else stated
    return stated if real == stated else f'{stated}, run as {real}'


def _p99(latency: Latency) -> str:
    return number(latency.p99) + ('' if latency.samples >= SURE_CALLS else ' *')


def _lower_precision(report: EngineReport) -> Grid:
    columns = (
        'bundle', 'backend', 'here', 'batch', "× FP32's images/s in the same backend",
    )
    rows = [
        (
            row.bundle, row.backend, verdict(row.precision_ratio), str(row.batch),
            with_range(row.precision_ratio),
        )
        for row in sorted(report.rows, key=lambda row: (row.bundle, row.backend, row.batch))
        if row.precision_ratio
    ]
    return Grid('Lower precision', columns, rows, 3)


def _answers(report: EngineReport) -> Grid:
    columns = (
        'bundle', 'backend', 'images', 'boxes, px', 'scores', 'boxes', 'lost', 'gained',
        'mask pixels, %',
    )
    rows = []
    for bundle, backend in dict.fromkeys((row.bundle, row.backend) for row in report.rows):
        items = [
            row.difference
            for row in report.rows
            if (row.bundle, row.backend) == (bundle, backend) and row.difference
        ]
        if not items:
            continue
        share = _greatest(items, lambda item: item.mask_share)
        has_boxes = items[0].box_px is not None
        rows.append((
            bundle, backend, str(items[0].images),
            number(_greatest(items, lambda item: item.box_px)),
            number(_greatest(items, lambda item: item.score)),
            *map(str, (
                (items[0].boxes, max(i.lost for i in items), max(i.gained for i in items))
                if has_boxes else '---'
            )),
            number(None if share is None else share * 100),
        ))
    return Grid('Largest difference from the reference', columns, rows, 2)


def _greatest(
    items: Iterable[Difference], value: Callable[[Difference], float | None]
) -> float | None:
    return max((found for item in items if (found := value(item)) is not None), default=None)


def _accuracy(report: EngineReport) -> Grid:
    names = tuple(dict.fromkeys(name for item in report.accuracy for name in item.figures))
    rows = [
        (
            item.bundle, item.backend, item.dataset, str(item.images),
            *(_share(item.figures.get(name)) for name in names),
        )
        for item in report.accuracy
        if item.problem is None
    ]
    return Grid('Accuracy', ('bundle', 'backend', 'data', 'images', *names), rows, 3)


def _share(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
