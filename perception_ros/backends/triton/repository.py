"""What a Triton server loads: for each bundle its graph, and a configuration made for it.

`<output>/<name>/config.pbtxt` is a `ModelConfig` in protobuf's text format, `<name>/1/model.onnx`
the bundle's graph. What the numbers mean and the licence travel along, in `<name>/bundle.yaml` and
`<name>/CARD.md`, which Triton ignores. `<output>/README.md` is for people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import shutil
import tempfile
from typing import Any, get_args, Literal

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import (
    DataType,
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelOptimizationPolicy,
    ModelOutput,
    ModelQueuePolicy,
    ModelVersionPolicy,
    ModelWarmup,
)

from perception_ros.backends.triton.server import GRAPH_PARAMETER
from perception_ros.backends.triton.tensors import datatype
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.contract import (
    expected_input,
    expected_outputs,
    INPUT_NAME,
    TensorSpec,
)
from perception_ros.bundles.manifest import GRAPH_NAME, Manifest, MANIFEST_NAME
from perception_ros.core.errors import ConfigError

Platform = Literal['onnxruntime', 'tensorrt', 'openvino']
Device = Literal['auto', 'cpu', 'gpu']

CONFIG_NAME = 'config.pbtxt'
README_NAME = 'README.md'
PLANS = '/plans'
"""Where the container keeps TensorRT's plans, so that they outlive it."""

_TITLE = '# Triton model repository of perception_ros'
_DEVICES: dict[Platform, tuple[Device, ...]] = {
    'onnxruntime': ('auto', 'cpu', 'gpu'), 'tensorrt': ('gpu',), 'openvino': ('cpu',)
}


@dataclass(frozen=True, slots=True)
class Serving:
    """How Triton is to serve models.

    :raises ConfigError: the values do not go together.
    """

    platform: Platform = 'onnxruntime'
    """What runs the graph: ONNX Runtime, ONNX Runtime with TensorRT, or OpenVINO."""
    device: Device = 'auto'
    """'auto': a GPU if the server sees one, and what the platform needs in any case."""
    instances: int = 1
    """Copies of a model that run side by side, on each GPU."""
    max_batch: int = 8
    """Most images of one request, and of the batch that requests are put into."""
    preferred_batches: tuple[int, ...] = ()
    """Batches worth waiting for; none: only the greatest."""
    queue_delay_us: int = 0
    """How long a request waits for others to share its batch."""
    queue_timeout_ms: int = 500
    """Requests that have waited longer are refused, not run; 0: they wait."""
    priority_levels: int = 2
    """Requests of level 1 go first; those that name no level are of the last."""

    def __post_init__(self) -> None:
        """Refuse what Triton would refuse when it loads the model."""
        if self.platform not in get_args(Platform):
            raise ConfigError(
                f'platform {self.platform!r}: expected one of {", ".join(get_args(Platform))}'
            )
        devices = ('auto', *_DEVICES[self.platform])
        if self.device not in devices:
            raise ConfigError(
                f'device {self.device!r}: expected {" or ".join(dict.fromkeys(devices))} with '
                f'platform {self.platform}'
            )
        for size in self.preferred_batches:
            if not 1 <= size <= self.max_batch:
                raise ConfigError(
                    f'preferred batch {size}: expected 1..{self.max_batch} (the greatest batch)'
                )
        if 0 < self.queue_timeout_ms * 1000 <= self.queue_delay_us:
            raise ConfigError(
                f'queue delay {self.queue_delay_us} us: expected less than the queue timeout, '
                f'{self.queue_timeout_ms} ms, or every request would be refused'
            )


def model_config(manifest: Manifest, serving: Serving) -> ModelConfig:
    """Return Triton's configuration of a bundle."""
    config = ModelConfig(
        name=manifest.name,
        backend='openvino' if serving.platform == 'openvino' else 'onnxruntime',
        default_model_filename=GRAPH_NAME,
        max_batch_size=serving.max_batch,
        version_policy=ModelVersionPolicy(latest=ModelVersionPolicy.Latest(num_versions=1)),
        input=[ModelInput(name=INPUT_NAME, **_tensor(expected_input(manifest)))],
        output=[
            ModelOutput(name=name, **_tensor(spec))
            for name, spec in expected_outputs(manifest).items()
        ],
        instance_group=[ModelInstanceGroup(kind=_kind(serving), count=serving.instances)],
        dynamic_batching=_batching(serving),
        model_warmup=[
            _warm_up(manifest, batch_size) for batch_size in sorted({1, serving.max_batch})
        ],
    )
    config.parameters[GRAPH_PARAMETER].string_value = manifest.graph.sha256
    if serving.platform == 'tensorrt':
        config.optimization.CopyFrom(_tensorrt(manifest))
    if serving.platform == 'openvino':
        # The backend compiles for exactly max_batch_size images and refuses fewer without this.
        config.parameters['ENABLE_BATCH_PADDING'].string_value = 'YES'
    return config


def write_repository(
    output: Path, bundles: Sequence[Bundle], serving: Serving, *, overwrite: bool = False
) -> None:
    """Write a model repository, or nothing at all: it is made in a folder beside, then renamed.

    :param output: the folder to make.
    :param bundles: checked, of different names.
    :param overwrite: whether a repository that this function wrote before is replaced.
    :raises ConfigError: something else is in the way, or two bundles have one name.
    :raises OSError: it cannot be written; nothing has changed.
    """
    counts = Counter(bundle.manifest.name for bundle in bundles)
    for name, count in counts.items():
        if count > 1:
            raise ConfigError(
                f'{count} bundles are called {name}, and a server has one model of a name; write '
                'two repositories'
            )
    _check_target(output, overwrite)
    output.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f'.{output.name}-', dir=output.parent))
    try:
        fresh = work / 'new'
        fresh.mkdir()
        for bundle in bundles:
            _write_model(fresh / bundle.manifest.name, bundle, serving)
        names = [bundle.manifest.name for bundle in bundles]
        (fresh / README_NAME).write_text(_readme(names, serving), encoding='utf-8')
        if output.exists():
            output.rename(work / 'old')
        fresh.rename(output)
    finally:
        shutil.rmtree(work)


def _check_target(output: Path, overwrite: bool) -> None:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    readme = output / README_NAME
    ours = readme.is_file() and readme.read_bytes().startswith(_TITLE.encode())
    if not ours:
        raise ConfigError(
            f'{output}: expected a new folder for the model repository, got something else; '
            'choose another output'
        )
    if not overwrite:
        raise ConfigError(
            f'{output}: a model repository is there already; choose another output, or --overwrite'
        )


def _write_model(folder: Path, bundle: Bundle, serving: Serving) -> None:
    version = folder / '1'
    version.mkdir(parents=True)
    shutil.copyfile(bundle.graph_path, version / GRAPH_NAME)
    shutil.copyfile(bundle.path / MANIFEST_NAME, folder / MANIFEST_NAME)
    if bundle.card_path.is_file():
        shutil.copyfile(bundle.card_path, folder / bundle.card_path.name)
    text = text_format.MessageToString(model_config(bundle.manifest, serving))
    (folder / CONFIG_NAME).write_text(text, encoding='utf-8')


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    """Return a tensor's type and the sizes of one image's share; the batch goes without saying."""
    return {'data_type': DataType.Value(f'TYPE_{datatype(spec)}'), 'dims': spec.shape[1:]}


def _kind(serving: Serving) -> Any:
    device, only = serving.device, _DEVICES[serving.platform]
    if len(only) == 1:
        device = only[0]
    return ModelInstanceGroup.Kind.Value(f'KIND_{device.upper()}')


def _batching(serving: Serving) -> ModelDynamicBatching:
    return ModelDynamicBatching(
        preferred_batch_size=sorted(serving.preferred_batches),
        max_queue_delay_microseconds=serving.queue_delay_us,
        priority_levels=serving.priority_levels,
        default_priority_level=serving.priority_levels,
        default_queue_policy=ModelQueuePolicy(
            timeout_action=ModelQueuePolicy.REJECT,
            default_timeout_microseconds=serving.queue_timeout_ms * 1000,
        ),
    )


def _warm_up(manifest: Manifest, batch_size: int) -> ModelWarmup:
    """Return a request that Triton runs before it calls a model ready."""
    spec = _tensor(expected_input(manifest))
    return ModelWarmup(
        name=f'batch of {batch_size}',
        batch_size=batch_size,
        inputs={INPUT_NAME: ModelWarmup.Input(zero_data=True, **spec)},
    )


def _tensorrt(manifest: Manifest) -> ModelOptimizationPolicy:
    """Return the settings of ONNX Runtime's TensorRT provider, at the precision of the graph.

    Its plan covers the batches that it has seen; the warm-up shows it the smallest and the
    greatest. Plans are told apart by the graph: their own names say nothing of the weights.
    """
    accelerators = ModelOptimizationPolicy.ExecutionAccelerators
    tensorrt = accelerators.Accelerator(
        name='tensorrt',
        parameters={
            'precision_mode': manifest.precision.upper(),
            'trt_engine_cache_enable': '1',
            'trt_engine_cache_path': PLANS,
            'trt_engine_cache_prefix': f'{manifest.name}-{manifest.graph.sha256[:16]}',
        },
    )
    return ModelOptimizationPolicy(
        execution_accelerators=accelerators(gpu_execution_accelerator=[tensorrt])
    )


def _readme(names: Sequence[str], serving: Serving) -> str:
    gpus = ' --gpus all' if _kind(serving) == ModelInstanceGroup.KIND_GPU else ''
    plans = f' -v perception_ros_plans:{PLANS}' if serving.platform == 'tensorrt' else ''
    models = '\n'.join(
        f'          model_{number}:  # any name\n'
        f'            bundle: {name}  # or its folder\n'
        '            backend: triton\n'
        '            server: localhost:8001'
        for number, name in enumerate(names, 1)
    )
    return f"""{_TITLE}

Written by `perception_ros triton-repository`: {', '.join(names)}.
Run by {serving.platform}, in batches of at most {serving.max_batch}.

Start a server in this folder, on the machine where the node runs:

    docker run --rm{gpus} --ipc host -p 8001:8001 -v "$PWD":/models:ro{plans} IMAGE \\
        tritonserver --model-repository=/models --allow-client-shm=true

- IMAGE is NVIDIA's `tritonserver:<yy.mm>-py3`. Its versions before 26.04 do not know
  `--allow-client-shm`; leave it out there.
- A server that is to use NVIDIA's GPUs needs `--gpus all` before IMAGE.
- `--ipc host` and `--allow-client-shm=true` let images travel in shared memory. Without them they
  travel in messages: slower, with the same answers, and the node's log says so.
- Whoever reaches port 8001 can use the server, and its shared memory: keep it inside the vehicle.

Point the node to it:

    /**:
      ros__parameters:
        model_names: [{', '.join(f'model_{number}' for number in range(1, len(names) + 1))}]
        models:
{models}
"""
