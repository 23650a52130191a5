"""A bundle's plan: from the engine store, or built and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import logging
from pathlib import Path
from typing import Any

from perception_ros.backends.base import EngineOptions
from perception_ros.backends.cuda.device import Gpu
from perception_ros.backends.store import EngineStore, Key
from perception_ros.backends.tensorrt.build import build_plan, Profile, WORKSPACE_BYTES
from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.precision import Layers
from perception_ros.backends.tensorrt.progress import LogProgress, Progress
from perception_ros.bundles.bundle import Bundle

_log = logging.getLogger(__name__)

_FORMAT = 1
"""Of what is stored beside a plan; another number, and all plans are built anew."""

NO_GPU = 'none'
"""Name of the GPU of a plan that is for no GPU in particular."""


def name_of(gpu: Gpu | None, library: Library) -> str:
    """Return a GPU's name for `plan_for`; plans of TensorRT-RTX fit every GPU it supports."""
    if gpu is None or library.is_rtx:
        return NO_GPU
    return f'{gpu.name}, compute capability {gpu.compute}'


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan and what is known of it."""

    payload: bytes
    """What the runtime deserialises."""
    library: str
    """Which library built it: 'tensorrt 10.13.0.35'. Only this one may load it."""
    gpu: str
    """For which GPU, as it was given to `plan_for`."""
    profile: Profile
    """Which batch sizes it takes."""
    precision: str
    """In which most of the work is done, by the tensor types of the parsed network."""
    shares: Mapping[str, float]
    """Precision -> share of the multiplications, the greatest first."""
    layers: Layers
    """Type of layer -> precision -> how many, in the parsed network."""
    build_s: float
    """How long the build took, whenever that was."""
    path: Path | None
    """Where it is stored; None: in memory alone."""
    was_built: bool
    """Whether it was built just now, and not found in the store."""


def plan_for(
    bundle: Bundle,
    options: EngineOptions,
    library: Library,
    gpu: str = NO_GPU,
    *,
    progress: Progress | None = None,
    store: EngineStore | None = None,
) -> Plan:
    """Return a bundle's plan, from the store where it has one, else built and stored.

    Building may take minutes; another process that builds the same one is waited for.

    :param gpu: as `name_of` gives it.
    :param progress: told how far a build is; default: a line in the log every ten seconds.
    :param store: default: that of the user.
    :raises BackendError: as `build.build_plan`.
    """
    store = store or EngineStore()
    name = bundle.manifest.name
    progress = progress or LogProgress(_log, f'{name} with {library}')
    timings = {
        'holds': 'timings', 'library': library.name, 'library_version': library.version, 'gpu': gpu
    }

    def build() -> tuple[bytes, dict[str, Any]]:
        cached = store.load(timings)
        built = build_plan(
            bundle, options, library, progress, cached.payload if cached else b''
        )
        if built.timing_cache:
            store.save(timings, built.timing_cache, {'name': 'timings'}, f'timings of {library}')
        about = {
            'name': name,
            'precision': built.precision,
            'shares': built.shares,
            'layers': built.layers,
            'build_s': built.build_s,
        }
        return built.payload, about

    stored = store.get_or_build(
        plan_key(bundle, options, library, gpu), build, f'{name} with {library}', options.cancel
    )
    about = stored.about
    return Plan(
        payload=stored.payload,
        library=str(library),
        gpu=gpu,
        profile=Profile.of(options),
        precision=about['precision'],
        shares=about['shares'],
        layers=about['layers'],
        build_s=about['build_s'],
        path=stored.path,
        was_built=stored.was_built,
    )


def plan_key(bundle: Bundle, options: EngineOptions, library: Library, gpu: str) -> Key:
    """Return all that a plan depends on.

    :raises BackendError: `options` contradict one another.
    """
    return {
        'format': _FORMAT,
        'graph_sha256': bundle.manifest.graph.sha256,
        'precision': bundle.manifest.precision,
        'library': library.name,
        'library_version': library.version,
        'gpu': gpu,
        'profile': asdict(Profile.of(options)),
        'hardware_compatibility': options.hardware_compatibility,
        'dla_core': options.dla_core,
        'workspace_bytes': WORKSPACE_BYTES,
    }
