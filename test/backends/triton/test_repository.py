"""The model repository: what Triton is told, and nothing of the user's is written over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import text_format
import pytest
from tritonclient.grpc.model_config_pb2 import (
    ModelConfig,
    ModelInstanceGroup,
    ModelQueuePolicy,
    TYPE_FP32,
    TYPE_INT32,
    TYPE_UINT8,
)

from perception_ros.backends.triton.repository import (
    model_config,
    Serving,
    write_repository,
)
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import ConfigError
from test.builders import manifest, write_real_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


def read(repository: Path, name: str = 'means') -> ModelConfig:
    text = (repository / name / 'config.pbtxt').read_text(encoding='utf-8')
    return text_format.Parse(text, ModelConfig())


def test_it_holds_the_graph_and_a_configuration_that_fits_it(
    tmp_path: Path, bundle: Bundle
) -> None:
    write_repository(tmp_path / 'models', [bundle], Serving(max_batch=6))
    folder = tmp_path / 'models' / 'means'
    assert (folder / '1' / 'model.onnx').read_bytes() == bundle.graph_path.read_bytes()
    config = read(tmp_path / 'models')
    assert config == model_config(bundle.manifest, Serving(max_batch=6))
    assert (config.name, config.backend, config.max_batch_size) == ('means', 'onnxruntime', 6)
    tensors = {
        item.name: (item.data_type, list(item.dims)) for item in [*config.input, *config.output]
    }
    assert tensors == {
        'images': (TYPE_UINT8, [64, 96, 3]),
        'boxes': (TYPE_FP32, [8, 4]),
        'scores': (TYPE_FP32, [8]),
        'labels': (TYPE_INT32, [8]),
        'semantic_ground': (TYPE_UINT8, [64, 96]),
    }
    assert config.parameters['graph_sha256'].string_value == bundle.manifest.graph.sha256
    assert config.version_policy.latest.num_versions == 1


def test_what_the_numbers_mean_and_the_licence_travel_along(
    tmp_path: Path, bundle: Bundle
) -> None:
    write_repository(tmp_path / 'models', [bundle], Serving())
    for name in ('bundle.yaml', 'CARD.md'):
        copy = tmp_path / 'models' / 'means' / name
        assert copy.read_bytes() == (bundle.path / name).read_bytes()


def test_requests_wait_as_told() -> None:
    config = model_config(manifest(), Serving(
        preferred_batches=(8, 4), queue_delay_us=300, queue_timeout_ms=20, priority_levels=3
    ))
    batching = config.dynamic_batching
    assert list(batching.preferred_batch_size) == [4, 8]
    assert batching.max_queue_delay_microseconds == 300
    assert (batching.priority_levels, batching.default_priority_level) == (3, 3)
    policy = batching.default_queue_policy
    assert policy.timeout_action == ModelQueuePolicy.REJECT
    assert policy.default_timeout_microseconds == 20_000


@pytest.mark.parametrize(('max_batch', 'expected'), [(1, [1]), (8, [1, 8])])
def test_the_model_is_warmed_up_with_one_image_and_with_the_greatest_batch(
    max_batch: int, expected: list[int]
) -> None:
    config = model_config(manifest(), Serving(max_batch=max_batch))
    assert [item.batch_size for item in config.model_warmup] == expected
    for item in config.model_warmup:
        assert list(item.inputs['images'].dims) == [64, 96, 3]
        assert item.inputs['images'].zero_data


@pytest.mark.parametrize(
    ('serving', 'kind'),
    [
        (Serving(), ModelInstanceGroup.KIND_AUTO),
        (Serving(device='cpu'), ModelInstanceGroup.KIND_CPU),
        (Serving(device='gpu'), ModelInstanceGroup.KIND_GPU),
        (Serving('tensorrt'), ModelInstanceGroup.KIND_GPU),
        (Serving('openvino'), ModelInstanceGroup.KIND_CPU),
    ],
    ids=lambda value: f'{value.platform}-{value.device}' if isinstance(value, Serving) else '',
)
def test_instances_lie_where_the_platform_can_run(serving: Serving, kind: int) -> None:
    (group,) = model_config(manifest(), serving).instance_group
    assert (group.kind, group.count) == (kind, 1)


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_tensorrt_runs_at_the_precision_of_the_graph_and_tells_plans_apart_by_it(
    precision: str,
) -> None:
    config = model_config(manifest(precision=precision), Serving('tensorrt'))
    assert config.backend == 'onnxruntime'
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == 'tensorrt'
    assert accelerator.parameters['precision_mode'] == precision.upper()
    assert accelerator.parameters['trt_engine_cache_prefix'] == f'colours-{"0" * 16}'


def test_openvino_takes_batches_that_are_not_full() -> None:
    config = model_config(manifest(), Serving('openvino'))
    assert (config.backend, config.default_model_filename) == ('openvino', 'model.onnx')
    assert config.parameters['ENABLE_BATCH_PADDING'].string_value == 'YES'


@pytest.mark.parametrize(
    ('values', 'says'),
    [
        ({'platform': 'tpu'}, "platform 'tpu': expected one of onnxruntime, tensorrt, openvino"),
        ({'device': 'tpu'}, "device 'tpu': expected auto or cpu or gpu"),
        ({'platform': 'tensorrt', 'device': 'cpu'}, 'expected auto or gpu with platform tens'),
        ({'platform': 'openvino', 'device': 'gpu'}, 'expected auto or cpu with platform open'),
        ({'preferred_batches': (9,)}, r'preferred batch 9: expected 1\.\.8'),
        ({'queue_delay_us': 500_000}, 'expected less than the queue timeout, 500 ms'),
    ],
)
def test_values_that_do_not_go_together_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Serving(**values)


def test_two_bundles_of_one_name_are_refused(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(ConfigError, match='2 bundles are called means'):
        write_repository(tmp_path / 'models', [bundle, bundle], Serving())
    assert not list(tmp_path.iterdir())


def test_a_repository_is_replaced_as_a_whole_and_only_if_allowed(
    tmp_path: Path, bundle: Bundle
) -> None:
    output = tmp_path / 'models'
    write_repository(output, [bundle], Serving())
    with pytest.raises(ConfigError, match='is there already; .*--overwrite'):
        write_repository(output, [bundle], Serving())
    other = write_real_bundle(tmp_path / 'bundles' / 'other', name='other')
    write_repository(output, [other], Serving(), overwrite=True)
    assert sorted(path.name for path in output.iterdir()) == ['README.md', 'other']
    assert sorted(path.name for path in tmp_path.iterdir()) == ['bundles', 'models']


def test_what_it_did_not_write_it_never_replaces(tmp_path: Path, bundle: Bundle) -> None:
    output = tmp_path / 'mine'
    output.mkdir()
    (output / 'README.md').write_text('# My thesis')
    with pytest.raises(ConfigError, match='expected a new folder .*, got something else'):
        write_repository(output, [bundle], Serving(), overwrite=True)
    assert (output / 'README.md').read_text() == '# My thesis'
    with pytest.raises(ConfigError, match='got something else'):
        write_repository(output / 'README.md', [bundle], Serving(), overwrite=True)


def test_a_failure_leaves_what_was_there(tmp_path: Path, bundle: Bundle) -> None:
    output = tmp_path / 'models'
    write_repository(output, [bundle], Serving())
    gone = Bundle(tmp_path / 'gone', bundle.manifest)
    with pytest.raises(FileNotFoundError):
        write_repository(output, [gone], Serving(max_batch=2), overwrite=True)
    assert read(output).max_batch_size == 8
    assert [path.name for path in tmp_path.iterdir()] == ['models']


def test_the_readme_says_how_to_start_a_server_for_the_platform(
    tmp_path: Path, bundle: Bundle
) -> None:
    said = {}
    for platform in ('onnxruntime', 'tensorrt', 'openvino'):
        write_repository(tmp_path / platform, [bundle], Serving(platform))  # type: ignore[arg-type]
        said[platform] = (tmp_path / platform / 'README.md').read_text(encoding='utf-8')
        assert '--allow-client-shm=true' in said[platform] and '--ipc host' in said[platform]
        assert 'bundle: means' in said[platform]
    assert 'docker run --rm --gpus all' in said['tensorrt'] and ':/plans' in said['tensorrt']
    assert 'docker run --rm --ipc' in said['openvino']
