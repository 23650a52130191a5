"""Make a plan of a bundle's graph: parse, check its precision, build.

Nothing here needs a GPU with `tensorrt_rtx`; `tensorrt` times its kernels on the GPU that it
builds for.
"""

from __future__ import annotations

from dataclasses import dataclass
import logging
import threading
import time
from typing import TYPE_CHECKING

from perception_ros.backends.base import EngineOptions
from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.monitor import progress_monitor
from perception_ros.backends.tensorrt.precision import (
    check_precision,
    heavy_layers,
    layer_types,
    Layers,
    shares_of_work,
)
from perception_ros.backends.tensorrt.progress import Progress
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_log = logging.getLogger(__name__)

WORKSPACE_BYTES = 1 << 30
"""Scratch memory that one layer may take; TensorRT's default is all that the GPU has."""


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes of a plan; equal ones mean that it takes this size and no other."""

    least: int
    optimal: int
    greatest: int

    @classmethod
    def of(cls, options: EngineOptions) -> Profile:
        """Return what these options ask for: 1..max_batch, or just max_batch on a DLA core.

        :raises BackendError: the optimum is not within.
        """
        greatest = options.max_batch
        if options.dla_core >= 0:
            return cls(greatest, greatest, greatest)
        optimal = options.optimal_batch or greatest
        if optimal > greatest:
            raise BackendError(
                f'optimal_batch {optimal}: expected at most max_batch {greatest}, or 0 for it'
            )
        return cls(1, optimal, greatest)

    @property
    def is_static(self) -> bool:
        """Whether only full batches can be run."""
        return self.least == self.greatest > 1


@dataclass(frozen=True, slots=True)
class Built:
    """A new plan and what is known of it."""

    payload: bytes
    precision: str
    """In which most of the work is done."""
    shares: dict[str, float]
    """Precision -> share of the multiplications."""
    layers: Layers
    timing_cache: bytes
    """What was measured of kernels, for the next build on this GPU; empty where it is not kept."""
    build_s: float


def build_plan(
    bundle: Bundle,
    options: EngineOptions,
    library: Library,
    progress: Progress,
    timing_cache: bytes = b'',
) -> Built:
    """Build a bundle's plan for a batch of 1..max_batch.

    :param progress: called from any thread while the builder works.
    :param timing_cache: that of an earlier build on this GPU; what cannot be used is ignored.
    :raises BackendError: the library refuses the graph or cannot build it, the graph's precision
        is not what the manifest says, or the options ask for what is not there.
    """
    started = time.monotonic()
    library.errors.clear()
    profile = Profile.of(options)
    try:
        builder = library.module.Builder(library.logger)
    except (RuntimeError, TypeError) as error:  # pybind's words for a constructor that failed
        raise BackendError(
            f'{library} cannot build here: {library.explain()}; it needs a GPU and its driver'
        ) from error
    network, parser = parse(bundle, builder, library)
    shares = shares_of_work(network, library)
    precision = check_precision(bundle.manifest.precision, shares, str(bundle.graph_path))
    config = _configure(builder, network, options, profile, library)
    _use_timing_cache(config, timing_cache, library)
    progress = _until(options.cancel, progress)
    payload = _build(builder, network, config, progress, bundle, library)
    del parser  # its weights have been built in
    return Built(
        payload=payload,
        precision=precision,
        shares=shares,
        layers=layer_types(network, library),
        timing_cache=_timing_cache_of(config, library),
        build_s=time.monotonic() - started,
    )


def _until(cancel: threading.Event | None, progress: Progress) -> Progress:
    """Return a progress that also ends the build when somebody cancels it."""
    if cancel is None:
        return progress

    def tell(phase: str, done: float) -> None:
        if cancel.is_set():
            raise BackendError(f'the build was cancelled at {done:.0%}, during {phase}')
        progress(phase, done)

    return tell


def parse(
    bundle: Bundle, builder: trt.Builder, library: Library
) -> tuple[trt.INetworkDefinition, trt.OnnxParser]:
    """Parse a bundle's graph into a strongly typed network.

    The parser, which is returned too, holds the weights: it must outlive all use of the network.

    :raises BackendError: naming each node that the library refuses.
    """
    flags = library.module.NetworkDefinitionCreationFlag
    network = builder.create_network(1 << int(flags.STRONGLY_TYPED))
    parser = library.module.OnnxParser(network, library.logger)
    if not parser.parse(bundle.graph_path.read_bytes()):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        said = '; '.join(dict.fromkeys(_describe(error) for error in errors))
        raise BackendError(
            f'{library} refuses {bundle.graph_path}: {said or library.explain()}; '
            'export the model without these operators, or take another backend'
        )
    return network, parser


def make_static(network: trt.INetworkDefinition, batch_size: int, library: Library) -> None:
    """Let a network take batches of one size and no other."""
    images = network.get_input(0)
    images.shape = library.module.Dims([batch_size, *images.shape[1:]])


def _describe(error: trt.ParserError) -> str:
    where = f'node {error.node_name()!r} ({error.node_operator()}): ' if error.node_name() else ''
    # The description is often a condition of the parser's own code, and as little as 'false'.
    kind = str(error.code()).rpartition('.')[2].lower().replace('_', ' ')
    said = ' '.join(error.desc().split())
    return where + kind if said == 'false' else f'{where}{kind}: {said}'


def _configure(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    options: EngineOptions,
    profile: Profile,
    library: Library,
) -> trt.IBuilderConfig:
    tensorrt = library.module
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tensorrt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    config.profiling_verbosity = tensorrt.ProfilingVerbosity.DETAILED
    # A graph that says fp32 gets fp32; who can do with less has a bundle in fp16.
    config.clear_flag(tensorrt.BuilderFlag.TF32)
    if options.hardware_compatibility != 'none':
        if library.is_rtx:
            raise BackendError(
                f'hardware_compatibility {options.hardware_compatibility!r}: expected none with '
                f'{library}, whose plans fit every GPU that it supports'
            )
        levels = tensorrt.HardwareCompatibilityLevel
        config.hardware_compatibility_level = getattr(
            levels, options.hardware_compatibility.upper()
        )
    if profile.least == profile.greatest:
        make_static(network, profile.greatest, library)
    else:
        config.add_optimization_profile(_shapes(builder, network, profile, library))
    if options.dla_core >= 0:
        _use_dla(config, builder, network, options.dla_core, library)
    return config


def _shapes(
    builder: trt.Builder, network: trt.INetworkDefinition, profile: Profile, library: Library
) -> trt.IOptimizationProfile:
    shapes = builder.create_optimization_profile()
    rest = network.get_input(0).shape[1:]
    least, optimal, greatest = (
        library.module.Dims([n, *rest]) for n in (profile.least, profile.optimal, profile.greatest)
    )
    shapes.set_shape(INPUT_NAME, least, optimal, greatest)
    return shapes


def _use_dla(
    config: trt.IBuilderConfig,
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    core: int,
    library: Library,
) -> None:
    if core >= builder.num_DLA_cores:
        raise BackendError(
            f'dla_core {core}: {library} finds {builder.num_DLA_cores} DLA cores here; only some '
            'versions for Jetson and DRIVE have them: set dla_core to -1'
        )
    config.default_device_type = library.module.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(library.module.BuilderFlag.GPU_FALLBACK)
    heavy = list(heavy_layers(network, library))
    able = sum(config.can_run_on_DLA(layer) for layer in heavy)
    if not able:
        raise BackendError(
            f'dla_core {core}: expected layers that can run on it, got {len(heavy)} convolutions '
            'and matrix products that all go to the GPU; it computes in fp16 and int8: take such '
            'a bundle, or set dla_core to -1'
        )
    _log.info(
        'DLA core %d takes %d of %d convolutions and matrix products', core, able, len(heavy)
    )


def _use_timing_cache(config: trt.IBuilderConfig, payload: bytes, library: Library) -> None:
    if library.is_rtx:  # it times nothing
        return
    if not config.set_timing_cache(config.create_timing_cache(payload), False):
        _log.info('the timing cache is of another GPU or version: beginning an empty one')
        config.set_timing_cache(config.create_timing_cache(b''), False)


def _timing_cache_of(config: trt.IBuilderConfig, library: Library) -> bytes:
    if library.is_rtx:
        return b''
    return bytes(config.get_timing_cache().serialize())


def _build(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    progress: Progress,
    bundle: Bundle,
    library: Library,
) -> bytes:
    monitor, raised = progress_monitor(progress, library)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if raised:
        raise raised[0]
    if plan is None:
        raise BackendError(
            f'{library} cannot build {bundle.graph_path}: {library.explain()}; try a smaller '
            'max_batch, or another backend'
        )
    return bytes(plan)
