"""What a process uses while a bag is played to it."""

from __future__ import annotations

import time

from perception_ros.core.machine import cpu_seconds, peak_memory_bytes
from perception_ros.demo.processes import NodeProcess


class Usage:
    """Processor and memory of a process; looked at often, for it may die."""

    def __init__(self) -> None:
        self._process: NodeProcess | None = None
        self._begun_s = self._last_s = 0.0
        self._cpu_begun_s = self._cpu_s = 0.0
        self._peak_bytes = 0
        self._is_over = False

    def begin(self, process: NodeProcess | None) -> None:
        """Count from now on; without a process nothing is known."""
        self._process = process
        self._begun_s = self._last_s = time.monotonic()
        if process:
            self._cpu_begun_s = self._cpu_s = cpu_seconds(process.pid)

    def look(self) -> None:
        """Take the figures of now."""
        if self._process and (peak := peak_memory_bytes(process=self._process.pid)):
            self._peak_bytes = max(self._peak_bytes, peak)
            if not self._is_over:
                self._cpu_s = cpu_seconds(self._process.pid) or self._cpu_s
                self._last_s = time.monotonic()

    def end(self) -> None:
        """Count no longer what is computed."""
        self.look()
        self._is_over = True

    def as_json(self) -> dict[str, float | None]:
        """Return the figures; null where the process is not ours."""
        took_s = self._last_s - self._begun_s
        is_known = bool(self._process and took_s and self._peak_bytes)
        return {
            'cpu_cores': (
                round((self._cpu_s - self._cpu_begun_s) / took_s, 3) if is_known else None
            ),
            'peak_memory_mb': round(self._peak_bytes / 2**20, 1) if is_known else None,
        }
