"""What `perception_ros top` draws of one second of a node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from perception_ros.core.passage import STAGES

_STYLES = {'ok': 'green', 'warn': 'yellow', 'error': 'bold red', 'stale': 'bold red'}
_PERCENTILES = ('p50_ms', 'p95_ms', 'p99_ms', 'max_ms')
_THREADS = 5
"""How many of the busiest are shown."""


def draw(told: Mapping[str, Any], camera: str, title: str) -> RenderableType:
    """Return tables of a snapshot of `ros.watch`.

    :param camera: whose stages are shown with all percentiles; '': p99 of all cameras.
    """
    stages = _stages_of(told['cameras'][camera], camera) if camera else _stages(told['cameras'])
    return Group(
        Text(title, 'bold'), _cameras(told['cameras']), stages, _models(told['models']),
        *_resources(told),
    )


def _table(*columns: str, names: int = 1, gap: int = 1) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, gap, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify='left' if index < names else 'right', no_wrap=True)
    return table


def _cameras(cameras: Mapping[str, Any]) -> Table:
    table = _table('camera', 'in/s', 'out/s', 'p50', 'p95', 'p99', 'max ms')
    table.add_column('lost/s', no_wrap=False)
    table.add_column('state', no_wrap=False)
    for name, told in cameras.items():
        lost = ', '.join(f'{count} {reason}' for reason, count in told['dropped'].items())
        total = told['latency'].get('total', {})
        table.add_row(
            name, str(told['received']), str(told['results']),
            *(_ms(total.get(key)) for key in _PERCENTILES), lost, _state(told),
        )
    return table


def _stages(cameras: Mapping[str, Any]) -> Table:
    table = _table('p99 ms', *STAGES, gap=0)  # it just fits into 80 columns
    for name, told in cameras.items():
        of_stage = (told['latency'].get(stage, {}) for stage in STAGES)
        table.add_row(name, *(_ms(values.get('p99_ms')) for values in of_stage))
    return table


def _stages_of(told: Mapping[str, Any], camera: str) -> Table:
    table = _table(camera, 'p50', 'p95', 'p99', 'max ms')
    for stage in STAGES:
        if values := told['latency'].get(stage):
            table.add_row(stage, *(_ms(values.get(key)) for key in _PERCENTILES))
    return table


def _models(models: Mapping[str, Any]) -> Table:
    table = _table(
        'model', 'backend', 'device', 'precision', 'out/s', 'calls/s', 'batch', 'p99 ms', names=4
    )
    table.add_column('state', no_wrap=False)
    for name, told in models.items():
        table.add_row(
            name, told.get('backend', ''), told.get('device', ''), told.get('precision', ''),
            str(told.get('inferred', '')), str(told.get('engine_calls', '')),
            '' if told['batch'] is None else f'{told["batch"]:g}',
            _ms(told['latency'].get('p99_ms')), _state(told),
        )
    return table


def _resources(told: Mapping[str, Any]) -> list[RenderableType]:
    process, machine = told['process'], told['machine']
    threads = process.get('cpu_cores_by_thread', {})
    busiest = sorted(threads.items(), key=lambda item: item[1], reverse=True)[:_THREADS]
    table = Table.grid(padding=(0, 2))
    files = f', {process["open_files"]} open files' if 'open_files' in process else ''
    table.add_row('process', process.get('text', '') + files)
    table.add_row('threads', ', '.join(f'{name} {cores:.2f}' for name, cores in busiest))
    table.add_row('machine', Text(machine.get('text', ''), _style(machine)))
    for what, unit in (('temperatures_c', '°C'), ('power_w', 'W')):
        if values := machine.get(what):
            told_values = (f'{name} {value:g} {unit}' for name, value in values.items())
            table.add_row('', ', '.join(told_values))
    for gpu in told['gpus']:
        table.add_row('GPU', gpu['text'])
    if not told['gpus']:
        table.add_row('GPU', Text(f'none: {told["no_gpu"]}', 'dim'))
    return [table]


def _state(told: Mapping[str, Any]) -> Text:
    """Say what is wrong; that all is well takes one word."""
    text = 'ok' if told['level'] == 'ok' else told['text']
    return Text(text, _style(told))


def _style(told: Mapping[str, Any]) -> str:
    style = _STYLES.get(told.get('level', 'ok'), '')
    return '' if style == 'green' and 'text' not in told else style


def _ms(value: Any) -> str:
    return '' if value is None else f'{value:.1f}'
