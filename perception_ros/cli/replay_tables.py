"""What a replay comes to, as tables in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from perception_ros.cli.evaluate import share
from perception_ros.cli.faults import print_effects
from perception_ros.cli.main import warn
from perception_ros.replay.compare import CHANGES

_SHOWN = ('p50', 'p99', 'max')
"""Percentiles from published to received."""


def print_summary(console: Console, summary: dict[str, Any], output: Path) -> None:
    """Print what runs come to, as `summary.json` has it."""
    frames = summary['frames']
    dropped = ', '.join(
        f'{count} {reason}' for reason, count in summary['frames_dropped'].items() if count
    )
    console.print(
        f'{output}: {frames["inferred"]} frames inferred in {summary["frame_sets"]} sets, '
        f'{frames["dropped"]} dropped{f" ({dropped})" if dropped else ""}',
        style='bold', highlight=False, soft_wrap=True, markup=False,
    )
    for model, counts in summary['detections'].items():
        classes = summary['accuracy'].get(model, {}).get('classes', {})
        console.print(_classes(model, counts, classes))
    for model, figures in summary['accuracy'].items():
        console.print(_cameras(model, figures))
        if figures['distances']:
            console.print(_distances(model, figures['distances']))
    print_effects(console, summary['faults'])
    if found := summary.get('comparison'):
        changes = ', '.join(f'{found[kind]} {kind}' for kind in CHANGES)
        differences = ', '.join(
            f'{key} {value:+.3f}' for key, value in found['difference'].items()
        )
        console.print(
            f'Since {found["baseline"]}: {changes}; {differences}', highlight=False,
            soft_wrap=True, markup=False,
        )
    if summary['realtime']:
        _print_realtime(console, summary['realtime'])


def _classes(model: str, counts: dict[str, int], classes: dict[str, Any]) -> Table:
    table = Table(model, box=SIMPLE_HEAD, pad_edge=False)
    for column in ('detections', 'true boxes', 'AP50', 'AP50-95'):
        table.add_column(column, justify='right')
    for name in sorted({*counts, *classes}):
        item = classes.get(name, {})
        table.add_row(
            name, str(counts.get(name, 0)), str(item.get('n', '-')),
            share(item.get('AP50')), share(item.get('AP')),
        )
    return table


def _cameras(model: str, figures: dict[str, Any]) -> Table:
    table = Table(f'{model} by camera', box=SIMPLE_HEAD, pad_edge=False)
    for column in ('mAP50', 'mAP', 'mIoU'):
        table.add_column(column, justify='right')
    for name, row in {**figures['cameras'], 'all': figures}.items():
        table.add_row(name, share(row['mAP50']), share(row['mAP']), share(row['mIoU']))
    return table


def _distances(model: str, distances: dict[str, Any]) -> Table:
    table = Table(f'{model} by distance', box=SIMPLE_HEAD, pad_edge=False)
    for column in ('true boxes', 'recall', 'mAP50'):
        table.add_column(column, justify='right')
    for name, row in distances.items():
        table.add_row(
            name.replace('_', ' '), str(row['n']), share(row['recall']), share(row['mAP50'])
        )
    return table


def _print_realtime(console: Console, figures: dict[str, Any]) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column('times in ms', no_wrap=True)
    for column in ('published', 'inferred', 'dropped', 'Hz', *_SHOWN):
        table.add_column(column, justify='right')
    for name, item in figures['cameras'].items():
        times, hz = item.get('end_to_end'), item['achieved_hz']
        table.add_row(
            name, *(str(item[key]) for key in ('published', 'inferred', 'dropped')),
            '-' if hz is None else f'{hz:.2f}',
            *(f'{times[f"{key}_ms"]:.4g}' if times else '-' for key in _SHOWN),
        )
    console.print(table)
    pace, usage = figures['pace'], figures['node']
    kept = '-' if pace['rate_kept'] is None else f'{pace["rate_kept"]:g}'
    used = '' if usage['cpu_cores'] is None else (
        f'; the node used {usage["cpu_cores"]:.2f} cores and {usage["peak_memory_mb"]:.0f} MiB'
    )
    console.print(
        f'Played in {pace["played_s"]:.1f} s at a rate of {kept}, images up to '
        f'{pace["late"]["max_ms"]:.1f} ms late{used}',
        highlight=False, soft_wrap=True,
    )
    if pace['images'] and not pace['is_kept']:
        warn(
            f'this machine could not play the bag at a rate of {pace["rate"]:g}: one in a hundred '
            f'images came {pace["late"]["p99_ms"]:.0f} ms late or more. What was dropped, and '
            'latencies, say little about a vehicle; use a lower --rate, fewer --topics or a '
            'faster machine'
        )
