"""One engine in a process of its own, which does what it is told, one line of JSON a task.

A process of its own makes its memory its own too, and a crash of a runtime costs one row of a
table. `process.WorkerProcess` is the other end; each public method of `Worker` is a task.

    {"task": "turn", "seconds": 0.5}  ->  {"latency_ms": [3.1, 3.0, ...], "images_per_s": 650.2}
    {"task": "open", ...}             ->  {"problem": "device 'cuda': ..."}
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
import os
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends import Engine, EngineOptions, load_backend, open_engine, Request
from perception_ros.backends.slots import SLOTS
from perception_ros.benchmarks.environment import device_memory_bytes
from perception_ros.benchmarks.tasks import serve_stdin
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BenchmarkError
from perception_ros.core.machine import peak_memory_bytes
from perception_ros.evaluation import evaluate, open_dataset

Answer = dict[str, Any]


class Worker:
    """Holds one engine at most; every method is a task and returns what JSON can hold."""

    _bundle: Bundle
    _engine: Engine
    _batch: int
    _images: NDArray[np.uint8]

    def probe(self, backend: str) -> Answer:
        """Say what a backend is here."""
        return {'found': load_backend(backend).probe()}

    def open(
        self, bundle: str, backend: str, options: Mapping[str, Any], images: str
    ) -> Answer:
        """Open an engine, warm it up, and fill its input with real images.

        :param images: a .npy file, uint8 [n, H, W, 3] RGB, letterboxed.
        """
        begun = time.perf_counter()
        self._bundle = Bundle.load(bundle)
        self._engine = open_engine(self._bundle, backend, EngineOptions(**options))
        self._batch = options['max_batch']
        if self._engine.info.max_batch < self._batch:
            raise BenchmarkError(
                f'expected an engine for batches of {self._batch}, got one for at most '
                f'{self._engine.info.max_batch}; a server must be configured for it'
            )
        self._engine.warm_up()
        open_s = time.perf_counter() - begun
        self._images = np.load(images, mmap_mode='r')
        _fill(self._engine, self._images)
        return {'engine': asdict(self._engine.info), 'open_s': open_s}

    def turn(self, seconds: float) -> Answer:
        """Run for a while with both slots busy, then as long again call by call.

        The first part also warms what other processes have cooled since the last turn.
        """
        images_per_s = _kept_busy(self._engine, self._batch, seconds)
        latency_ms: list[float] = []
        end = time.perf_counter() + seconds
        while not latency_ms or time.perf_counter() < end:
            request = self._engine.request()
            begun = time.perf_counter()
            request.start(self._batch)
            request.result()
            latency_ms.append((time.perf_counter() - begun) * 1e3)
            request.release()
        return {'latency_ms': latency_ms, 'images_per_s': images_per_s}

    def keep_busy(self, seconds: float) -> Answer:
        """Run for a while with both slots busy, as the first part of a turn."""
        return {'images_per_s': _kept_busy(self._engine, self._batch, seconds)}

    def memory(self) -> Answer:
        """Say what this process holds, at most so far."""
        return {
            'peak_memory_bytes': peak_memory_bytes(),
            'device_memory_bytes': device_memory_bytes(os.getpid()),
        }

    def answers(self, file: str) -> Answer:
        """Write the answers to all images, at the batch that was opened, into a .npz file."""
        parts: dict[str, list[NDArray[np.generic]]] = {}
        for first in range(0, len(self._images), self._batch):
            images = self._images[first : first + self._batch]
            request = self._engine.request()
            try:
                request.images[: len(images)] = images
                request.start(len(images))
                for name, array in request.result().items():
                    parts.setdefault(name, []).append(array.copy())
            finally:
                request.release()
        answers: Answer = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        np.savez(file, **answers)
        return {}

    def evaluate(
        self, reference: str, split: str, labels: Sequence[str] | None, rename: Mapping[str, str]
    ) -> Answer:
        """Measure the engine on labelled data; the parameters are those of `open_dataset`.

        :param rename: class of the data -> what the bundle calls it.
        """
        data = open_dataset(reference, labels, split).renamed(rename)
        accuracy = evaluate(self._bundle.manifest, self._engine, data)
        return {'images': accuracy.images, 'figures': accuracy.figures}


def _fill(engine: Engine, images: NDArray[np.uint8]) -> None:
    """Write real images into every slot: some kernels take longer for grey than for streets."""
    slots: list[Request] = []
    try:
        for _ in range(SLOTS):
            slots.append(engine.request())
            slots[-1].images[...] = np.resize(images, slots[-1].images.shape)
    finally:
        for slot in slots:
            slot.release()


def _kept_busy(engine: Engine, batch: int, seconds: float) -> float:
    """Return images/s with as many calls in flight as the engine has slots."""
    begun = time.perf_counter()
    flying = deque(_started(engine, batch) for _ in range(SLOTS))
    done = 0
    while flying:
        request = flying.popleft()
        request.result()
        request.release()
        done += batch
        if time.perf_counter() - begun < seconds:
            flying.append(_started(engine, batch))
    return done / (time.perf_counter() - begun)


def _started(engine: Engine, batch: int) -> Request:
    request = engine.request()
    request.start(batch)
    return request


def main() -> None:
    """Serve until nobody asks any more."""
    serve_stdin(Worker())


if __name__ == '__main__':
    main()
