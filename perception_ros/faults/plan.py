"""The file of faults: a list, in the order in which messages meet them."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from pydantic import field_validator

from perception_ros.core.errors import ConfigError
from perception_ros.core.strict import read_strict, Strict
from perception_ros.faults.kinds import AnyFault

_Faults = tuple[AnyFault, ...]


class FaultPlan(Strict):
    """What goes wrong: faults by name. What one has made of the messages is what the next gets."""

    faults: _Faults

    @field_validator('faults')
    @classmethod
    def _have_names(cls, faults: _Faults) -> _Faults:
        """Name those without a name by their kind and number."""
        if not faults:
            raise ValueError('expected at least one fault, got none')
        named: dict[str, AnyFault] = {}
        for fault in faults:
            if fault.name in named:
                raise ValueError(f'expected names that differ, got {fault.name!r} twice')
            if fault.name:
                named[fault.name] = fault
        taken, found = set(named), []
        for fault in faults:
            name, number = fault.name or fault.kind, 1
            while not fault.name and name in taken:
                number += 1
                name = f'{fault.kind}_{number}'
            taken.add(name)
            found.append(fault.model_copy(update={'name': name}))
        return tuple(found)


def read_faults(path: Path) -> FaultPlan:
    """Read a file of faults.

    :raises ConfigError: it cannot be read, or says something wrong, with the line and key of each.
    """
    return read_strict(path, FaultPlan, 'faults', ConfigError)


KINDS: tuple[str, ...] = tuple(
    get_args(kind.model_fields['kind'].annotation)[0] for kind in get_args(get_args(AnyFault)[0])
)
"""What there is, as files call it."""
