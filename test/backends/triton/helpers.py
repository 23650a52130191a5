"""What the tests of the Triton backend ask, of an engine and of a server."""

from __future__ import annotations

from pathlib import Path
import time
from typing import Any

import numpy as np
from tritonclient.grpc import InferenceServerClient

from perception_ros.backends import Engine, EngineOptions
from perception_ros.backends.triton.repository import Serving
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from test.backends.triton.process import ServerProcess
from test.builders import manifest, picture, write_real_bundle

SERVING = Serving(max_batch=4, queue_timeout_ms=0)
PATIENT = Serving(max_batch=4, queue_timeout_ms=0, queue_delay_us=10**6)


def with_masks(path: Path) -> Bundle:
    """Write a bundle with the name of the others and one more output."""
    detection = manifest().detection
    assert detection
    return write_real_bundle(
        path, detection={**detection.model_dump(), 'masks': {'height': 3, 'width': 5}}
    )


def options(server: ServerProcess, **changes: Any) -> EngineOptions:
    return EngineOptions(server=server.address, **{'max_batch': 4, **changes})


def scores(engine: Engine, *colours: str) -> np.ndarray:
    """Return the scores of full pictures of these colours: 1 for the class of the colour."""
    request = engine.request()
    try:
        for index, colour in enumerate(colours):
            request.images[index] = picture(96, 64, **{colour: (0, 0, 96, 64)})
        request.start(len(colours))
        return request.result()['scores'][:, :3].copy()
    finally:
        request.release()


def recover(engine: Engine, *colours: str) -> np.ndarray:
    """Return the scores as soon as there are some again."""
    until = time.monotonic() + 20
    while True:
        try:
            return scores(engine, *colours)
        except BackendError:
            assert time.monotonic() < until
            time.sleep(0.05)


def registered(server: ServerProcess) -> set[str]:
    """Return the files of the shared memory that the server knows."""
    with InferenceServerClient(server.address) as client:
        regions = client.get_system_shared_memory_status().regions.values()
    return {region.key.removeprefix('/') for region in regions}


def batches(server: ServerProcess) -> list[int]:
    """Return the sizes of the batches that the server has run, in order."""
    with InferenceServerClient(server.address) as client:
        statistics = client.get_inference_statistics('means').model_stats[0]
    return [item.batch_size for item in statistics.batch_stats]
