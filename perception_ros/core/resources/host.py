"""What the machine as a whole does, as far as its kernel says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from perception_ros.core.machine import load_average, PROC, read_text, SYS


@dataclass(frozen=True, slots=True)
class MachineUse:
    """Of all processes together, since the reading before."""

    cpu_share: float
    """Part of all cores that was not idle, 0..1."""
    load_average: float
    memory_used_bytes: int
    """What is not available for new programs."""
    memory_bytes: int
    temperatures_c: Mapping[str, float]
    """By the kernel's names of the thermal zones, where the machine has any."""
    power_w: Mapping[str, float]
    """By the names of the rails that an INA3221 measures, as on a Jetson."""


class MachineMeter:
    """Reads from the kernel what has changed since the last reading, or since it was made.

    In a container the kernel speaks of the whole machine, whatever the container may use of it.
    """

    def __init__(self, proc: Path = PROC, sys: Path = SYS) -> None:
        self._proc, self._sys = proc, sys
        self._times = self._cpu_times()

    def read(self) -> MachineUse:
        """Return what the machine does; never raises."""
        before, (busy, whole) = self._times, self._cpu_times()
        self._times = busy, whole
        memory = {
            line.partition(':')[0]: int(line.split()[1]) * 1024
            for line in read_text(self._proc / 'meminfo').splitlines()
        }
        total = memory.get('MemTotal', 0)
        return MachineUse(
            (busy - before[0]) / max(whole - before[1], 1), load_average(),
            total - memory.get('MemAvailable', total), total,
            temperatures_c(self._sys), power_w(self._sys),
        )

    def _cpu_times(self) -> tuple[int, int]:
        """Return the ticks that the cores were busy so far, and all of them."""
        first = read_text(self._proc / 'stat').partition('\n')[0].split()[1:9]
        ticks = [int(value) for value in first]  # user nice system idle iowait irq softirq steal
        return sum(ticks) - sum(ticks[3:5]), sum(ticks)


def temperatures_c(sys: Path = SYS) -> dict[str, float]:
    """Return the temperatures of the thermal zones that can be read now."""
    found = {}
    for zone in sorted((sys / 'class' / 'thermal').glob('thermal_zone*')):
        # a zone of a part that is switched off cannot be read
        if name := read_text(zone / 'type').strip():
            milli = whole(zone / 'temp')
            if milli is not None:
                found[name] = milli / 1e3
    return found


def power_w(sys: Path = SYS) -> dict[str, float]:
    """Return the power of each rail that an INA3221 measures.

    As the kernel documents its driver; tested with files alone, for no Jetson was at hand.
    """
    found = {}
    for monitor in sorted((sys / 'class' / 'hwmon').glob('hwmon*')):
        if read_text(monitor / 'name').strip() != 'ina3221':
            continue
        for channel in (1, 2, 3):
            label = read_text(monitor / f'in{channel}_label').strip()
            millivolts = whole(monitor / f'in{channel}_input')
            milliamperes = whole(monitor / f'curr{channel}_input')
            if label and millivolts is not None and milliamperes is not None:
                found[label] = millivolts * milliamperes / 1e6
    return found


def whole(path: Path) -> int | None:
    """Return the number that a file of the kernel's holds; None where it does not."""
    try:
        return int(read_text(path))
    except ValueError:
        return None
