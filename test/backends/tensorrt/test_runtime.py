"""What of running a plan can be told without a GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perception_ros.backends import EngineOptions, load_backend, open_engine
from perception_ros.backends.tensorrt.inspector import parse
from perception_ros.backends.tensorrt.library import load_library
from perception_ros.core.errors import BackendError, NoSuchDeviceError, NotInstalledError
from test.builders import write_real_bundle

RTX = 'tensorrt_rtx'


def rtx_or_skip() -> None:
    try:
        load_library(RTX)
    except NotInstalledError as error:
        pytest.skip(f'needs a runtime: {error}')


@pytest.mark.parametrize('key', ['I/O Tensors', 'Bindings'], ids=['newer', 'older'])
def test_the_inspector_s_report_has_one_form(key: str) -> None:
    text = json.dumps({'Layers': [{'Name': 'conv'}], key: ['images']})
    assert parse(text, 'x') == {'layers': [{'Name': 'conv'}], 'tensors': ['images']}


@pytest.mark.parametrize('text', ['', '[]', '{}', '{"Layers": []}', '{"Bindings": []}'])
def test_what_no_inspector_says_is_refused(text: str) -> None:
    with pytest.raises(BackendError, match='expected JSON with Layers and I/O Tensors or Bindin'):
        parse(text, 'tensorrt 10')


def test_the_sibling_has_what_is_used_of_it_beyond_the_checked_types() -> None:
    """The types that are checked are TensorRT's; these names are the sibling's own."""
    rtx_or_skip()
    library = load_library(RTX)
    assert library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
    import tensorrt_rtx

    assert isinstance(tensorrt_rtx.IRuntimeConfig.cuda_graph_strategy, property)
    for owner, names in {
        'Runtime': ['deserialize_cuda_engine'],
        'ICudaEngine': [
            'create_engine_inspector', 'create_execution_context', 'create_runtime_config',
            'device_memory_size_v2', 'get_tensor_dtype', 'get_tensor_name', 'get_tensor_shape',
            'num_io_tensors',
        ],
        'IExecutionContext': [
            'execute_async_v3', 'set_device_memory', 'set_input_shape', 'set_tensor_address',
        ],
        'IRuntimeConfig': ['set_execution_context_allocation_strategy'],
        'EngineInspector': ['get_engine_information'],
    }.items():  # fmt: skip
        assert set(names) <= set(dir(getattr(tensorrt_rtx, owner)))


@pytest.mark.parametrize('device', ['cpu', 'gpu', 'cuda:first', 'tensorrt:0'])
def test_a_device_that_is_no_gpu_of_ours_is_refused(tmp_path: Path, device: str) -> None:
    rtx_or_skip()
    bundle = write_real_bundle(tmp_path / 'means')
    with pytest.raises(NoSuchDeviceError, match='expected auto, cuda or cuda:<index>'):
        open_engine(bundle, RTX, EngineOptions(device=device))


@pytest.mark.parametrize('backend', ['tensorrt', RTX])
def test_without_a_library_or_a_driver_probing_says_what_to_install(backend: str) -> None:
    try:
        load_backend(backend).probe()
    except NotInstalledError as error:
        assert 'install' in str(error)
