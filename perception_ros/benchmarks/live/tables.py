"""Reports of running nodes as tables of text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from perception_ros.benchmarks.grids import Grid, number, with_range
from perception_ros.benchmarks.live.figures import Delays, SideRow, Turn
from perception_ros.benchmarks.live.reports import (
    IngestReport,
    LiveReport,
    OverloadReport,
    PipelineReport,
    SoakReport,
)
from perception_ros.benchmarks.live.settings import RATE_KEPT
from perception_ros.benchmarks.statistics import Spread

NAMES = {
    'results_per_s': 'frames/s',
    'lost_percent': 'lost, %',
    'delay_p50_ms': 'p50, ms',
    'delay_p99_ms': 'p99, ms',
    'cpu_ms_per_frame': 'CPU, ms a frame',
    'cpu_cores': 'cores',
    'peak_memory_mb': 'memory, MB',
}
"""What the figures are called in tables."""


def tables(report: LiveReport) -> Iterator[Grid]:
    """Yield all tables that have something to say."""
    rows = [row for row in report.rows if row.turns]
    if rows:
        yield Grid(_title(report), ('', *NAMES.values()), [_figures(row) for row in rows], 1)
    if report.ratios:
        yield _ratios(report)
    if isinstance(report, IngestReport) and report.over_copies:
        cells = [(side, _spread(value)) for side, value in report.over_copies.items()]
        copies = _spread(report.copies_ms)
        yield Grid(f'CPU time over that of two copies, {copies} ms', ('', '×'), cells, 1)
    if isinstance(report, OverloadReport):
        yield _overload(report)
    if isinstance(report, SoakReport):
        yield _soak(report)
    if isinstance(report, PipelineReport) and report.tries:
        yield _tries(report)
    yield from _stages(rows)
    yield _sent(rows)


def doubts(report: LiveReport) -> Iterator[str]:
    """Yield what makes the figures themselves doubtful."""
    for row in report.rows:
        if not row.turns:
            continue
        kept_hz = float(np.median([turn.sent.rate_hz for turn in row.turns]))
        asked_hz = float(np.median([turn.sent.asked_hz for turn in row.turns]))
        if kept_hz < RATE_KEPT * asked_hz:
            yield (
                f'{row.side}: the sender kept {number(kept_hz)} Hz where '
                f'{number(asked_hz)} were asked for: this machine cannot send so much'
            )


def not_measured(report: LiveReport) -> Iterator[str]:
    """Yield a line for each side that has failed, and why."""
    for row in report.rows:
        if row.problem:
            yield f'{row.side} after {len(row.turns)} turns: {row.problem}'


def _spread(spread: Spread | None) -> str:
    """Return the median, and where eight of ten samples lie if there are several."""
    return with_range(spread) if spread is None or spread.samples > 1 else number(spread.median)


def _title(report: LiveReport) -> str:
    stream = report.stream
    return (
        f'{stream.cameras} cameras, {stream.width}x{stream.height} {stream.encoding}, '
        f'{number(stream.rate_hz)} Hz'
    )


def _figures(row: SideRow) -> tuple[str, ...]:
    spreads: list[Spread | None] = [getattr(row, name) for name in NAMES]
    return (row.side, *map(_spread, spreads))


def _ratios(report: LiveReport) -> Grid:
    figures = list(dict.fromkeys(ratio.figure for ratio in report.ratios))
    pairs = dict.fromkeys((ratio.side, ratio.over) for ratio in report.ratios)
    values = {(r.side, r.over, r.figure): r.value for r in report.ratios}
    rows = [
        (f'{side} / {over}', *(_spread(values.get((side, over, name))) for name in figures))
        for side, over in pairs
    ]
    return Grid('Ratios, round by round', ('', *(NAMES[name] for name in figures)), rows, 1)


def _tries(report: PipelineReport) -> Grid:
    cells = [
        (number(item.rate_hz), 'yes' if item.is_bounded else 'no', item.why)
        for item in report.tries
    ]
    limit = number(report.p99_limit_ms)
    return Grid(f'Rates tried: is p99 within {limit} ms?', ('Hz', 'bounded', ''), cells, 3)


def _overload(report: OverloadReport) -> Grid:
    figures = report.figures
    rows = [
        ('p99 / (2 × unloaded p99 + one call)', _spread(figures.p99_ratio)),
        ('largest distance of a camera from its share, %', _spread(figures.unfairness_percent)),
        (
            f'lost of what goes first ({", ".join(report.first)}), %',
            _spread(figures.priority_lost_percent),
        ),
        ('memory growth, MB', _spread(figures.memory_growth_mb)),
    ]
    return Grid(f'{report.times:g} times what the engine can take', ('', ''), rows, 1)


def _soak(report: SoakReport) -> Grid:
    first, last = report.samples[0], report.samples[-1]
    rows = [
        ('time, s', number(last.at_s)),
        ('times that a camera was gone', str(report.absences)),
        (f'later than {report.deadline_ms:g} ms', f'{report.late} ({report.late_percent:.3g} %)'),
        (f'memory slope after {number(report.settled_s)} s, MB/h',
         number(report.memory_slope_mb_per_h)),
        ('threads, at begin and end', f'{first.threads}, {last.threads}'),
        ('open files, at begin and end', f'{first.open_files}, {last.open_files}'),
    ]
    return Grid('Over the whole time', ('', ''), rows, 1)


def _stages(rows: list[SideRow]) -> Iterator[Grid]:
    for row in rows:
        names = list(row.turns[0].stages_ms)
        if names:
            columns = ('stage', 'p50, ms', 'p95, ms', 'p99, ms', 'max, ms')
            cells = [(name, *_medians([turn.stages_ms[name] for turn in row.turns if name in
                                       turn.stages_ms])) for name in names]
            dropped = _dropped(row.turns)
            yield Grid(f'{row.side}, by its own account{dropped}', columns, cells, 1)


def _medians(delays: list[Delays]) -> tuple[str, ...]:
    """Return the medians of all turns; of the maximum, the maximum."""
    middle = [
        number(float(np.median([getattr(item, name) for item in delays])))
        for name in ('p50', 'p95', 'p99')
    ]
    return (*middle, number(max(item.max for item in delays)))


def _dropped(turns: tuple[Turn, ...]) -> str:
    reasons: dict[str, int] = {}
    for turn in turns:
        for reason, count in turn.dropped.items():
            reasons[reason] = reasons.get(reason, 0) + count
    said = ', '.join(f'{count} {reason}' for reason, count in reasons.items() if count)
    return f'; dropped in all turns: {said}' if said else ''


def _sent(rows: list[SideRow]) -> Grid:
    columns = ('to', 'frames', 'Hz kept', 'ticks left out', 'tick late, p99 ms', 'cores')
    cells = []
    for row in rows:
        sent = [turn.sent for turn in row.turns]
        late = [item.lateness_ms.p99 for item in sent if item.lateness_ms]
        cells.append((
            row.side, str(sum(item.frames for item in sent)),
            number(float(np.median([item.rate_hz for item in sent]))),
            str(sum(item.skipped_ticks for item in sent)),
            number(float(np.median(late)) if late else None),
            number(float(np.median([item.cpu_cores for item in sent]))),
        ))
    return Grid('What was sent, in all turns', columns, cells, 1)
