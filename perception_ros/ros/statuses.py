"""What is said in `/diagnostics` of the process, the machine and its GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from diagnostic_msgs.msg import DiagnosticStatus

_LOW_MEMORY = 0.05
"""Part of the machine's memory; with less left the kernel may soon end a process."""


class Status(NamedTuple):
    """One status, without its name."""

    level: bytes
    text: str
    """In one line."""
    values: dict[str, Any]


def resource_statuses(use: Mapping[str, Any]) -> dict[str, Status]:
    """Return statuses by name, of what `resources.Use.as_json` says."""
    statuses = {'process': _process(use['process']), 'machine': _machine(use['machine'])}
    if not use['gpus']:
        statuses['gpu'] = Status(DiagnosticStatus.OK, f'none: {use["no_gpu"]}', {})
    for index, gpu in enumerate(use['gpus']):
        statuses[f'gpu {index}'] = _gpu(gpu)
    return statuses


def _process(use: Mapping[str, Any]) -> Status:
    text = f'{use["cpu_cores"]:.2f} cores, {use["memory_mb"]:.0f} MB, {use["threads"]} threads'
    return Status(DiagnosticStatus.OK, text, _flat(use))


def _machine(use: Mapping[str, Any]) -> Status:
    total, used = use['memory_mb'], use['memory_used_mb']
    text = f'CPU {use["cpu_percent"]:.0f} %, memory {used:.0f} of {total:.0f} MB'
    if total and used > (1 - _LOW_MEMORY) * total:
        return Status(DiagnosticStatus.WARN, f'little memory is left: {text}', _flat(use))
    return Status(DiagnosticStatus.OK, text, _flat(use))


def _gpu(use: Mapping[str, Any]) -> Status:
    parts = [use['name']]
    if use['utilization_percent'] is not None:
        parts.append(f'{use["utilization_percent"]:.0f} % busy')
    if use['memory_mb'] is not None:
        parts.append(f'memory {use["memory_used_mb"]:.0f} of {use["memory_mb"]:.0f} MB')
    if use['temperature_c'] is not None:
        parts.append(f'{use["temperature_c"]:.0f} °C')
    if use['power_w'] is not None:
        parts.append(f'{use["power_w"]:.0f} W')
    return Status(DiagnosticStatus.OK, ', '.join(parts), _flat(use))


def _flat(use: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without what is unknown; those of a part are `part/name`."""
    flat: dict[str, Any] = {}
    for key, value in use.items():
        if isinstance(value, Mapping):
            flat |= {f'{key}/{name}': inner for name, inner in value.items()}
        elif value is not None:
            flat[key] = value
    return flat
