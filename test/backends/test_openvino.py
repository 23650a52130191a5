"""What OpenVINO does beyond the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.backends.openvino import OpenVinoEngine
from perception_ros.bundles.bundle import Bundle
from perception_ros.core.errors import BackendError
from test.builders import fake_bundle, picture, write_real_bundle


@pytest.fixture(scope='module')
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_real_bundle(tmp_path_factory.mktemp('bundles') / 'means')


def graph(path: Path, nodes: list[onnx.NodeProto], constants: dict[str, np.ndarray]) -> Bundle:
    """Write a graph for a bundle of one semantic head; it is not checked against the contract."""
    images = helper.make_tensor_value_info('images', TensorProto.UINT8, ['B', 64, 96, 3])
    out = helper.make_tensor_value_info('semantic_ground', TensorProto.UINT8, None)
    weights = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    model = helper.make_model(
        helper.make_graph(nodes, 'test', [images], [out], weights),
        opset_imports=[helper.make_opsetid('', 20)],
        ir_version=9,
    )
    (path / 'model.onnx').write_bytes(model.SerializeToString())
    return Bundle(path, fake_bundle(detection=None).manifest)


def test_the_runtime_reads_our_buffer_in_place(bundle: Bundle) -> None:
    with OpenVinoEngine(bundle, EngineOptions(max_batch=4)) as engine:
        for n in (4, 1, 3):
            request = engine.request()
            request.images[:n] = picture(96, 64, red=(0, 0, 96, 64))
            request.start(n)
            request.result()
            seen = request._request.get_input_tensor()  # type: ignore[attr-defined]
            assert tuple(seen.shape) == (n, 64, 96, 3)
            assert np.shares_memory(seen.data, request.images)
            request.release()


@pytest.mark.parametrize('hint', ['latency', 'throughput'])
def test_each_slot_keeps_its_own_answer(bundle: Bundle, hint: str) -> None:
    """With the throughput hint both run at once."""
    with open_engine(
        bundle,
        'openvino',
        EngineOptions(max_batch=2, threads=2, performance_hint=hint),  # type: ignore[arg-type]
    ) as engine:
        slots = [engine.request(), engine.request()]
        for value, slot in enumerate(slots, 1):
            slot.images[:1] = 50 * value
            slot.start(1)
        for value, slot in enumerate(slots, 1):
            np.testing.assert_allclose(slot.result()['scores'][0, :3], 50 * value / 255, 1e-5)
            slot.release()


def test_an_error_of_the_run_is_told_by_result_and_leaves_the_slot_usable(tmp_path: Path) -> None:
    """A real one: a reshape that fits one image only."""
    nodes = [
        helper.make_node('Reshape', ['images', 'shape'], ['one']),
        helper.make_node('ArgMax', ['one'], ['strongest'], axis=3, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['semantic_ground'], to=TensorProto.UINT8),
    ]
    bundle = graph(tmp_path, nodes, {'shape': np.array([1, 64, 96, 3])})
    with OpenVinoEngine(bundle, EngineOptions(max_batch=2)) as engine:
        request = engine.request()
        request.start(2)
        for _ in range(2):
            with pytest.raises(BackendError, match='failed on a batch of 2'):
                request.result()
        request.start(1)
        assert request.result()['semantic_ground'].shape == (1, 64, 96)
        request.release()


@pytest.mark.parametrize(
    ('dtype', 'onnx_type'),
    [(np.float32, TensorProto.FLOAT), (np.float16, TensorProto.FLOAT16)],
    ids=['fp32', 'fp16'],
)
def test_precision_is_what_the_layers_were_compiled_to(
    tmp_path: Path, dtype: type, onnx_type: int
) -> None:
    """Not what the manifest says, nor what this CPU would like best."""
    nodes = [
        helper.make_node('Cast', ['images'], ['pixels'], to=onnx_type),
        helper.make_node('Transpose', ['pixels'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node('Conv', ['planes', 'weights'], ['seen'], pads=[1, 1, 1, 1]),
        helper.make_node('ArgMax', ['seen'], ['strongest'], axis=1, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['semantic_ground'], to=TensorProto.UINT8),
    ]
    weights = np.random.default_rng(0).normal(size=(4, 3, 3, 3)).astype(dtype)
    bundle = graph(tmp_path, nodes, {'weights': weights})
    with OpenVinoEngine(bundle, EngineOptions(max_batch=2)) as engine:
        if dtype is np.float32:
            assert engine.info.precision == 'fp32'
        else:  # a CPU without half-precision units computes in single
            assert engine.info.precision in ('fp16', 'fp32')


def test_a_quantised_graph_runs_in_int8_whatever_its_manifest_says(tmp_path: Path) -> None:
    nodes = [
        helper.make_node('Cast', ['images'], ['pixels'], to=TensorProto.FLOAT),
        helper.make_node('Transpose', ['pixels'], ['planes'], perm=[0, 3, 1, 2]),
        helper.make_node('QuantizeLinear', ['planes', 'scale', 'zero'], ['stored']),
        helper.make_node('DequantizeLinear', ['stored', 'scale', 'zero'], ['seen']),
        helper.make_node('DequantizeLinear', ['stored_weights', 'scale', 'zero'], ['weights']),
        helper.make_node('Conv', ['seen', 'weights'], ['logits'], pads=[1, 1, 1, 1]),
        helper.make_node('ArgMax', ['logits'], ['strongest'], axis=1, keepdims=0),
        helper.make_node('Cast', ['strongest'], ['semantic_ground'], to=TensorProto.UINT8),
    ]
    weights = np.random.default_rng(0).integers(-127, 128, (16, 3, 3, 3)).astype(np.int8)
    constants = {'scale': np.float32(2.0), 'zero': np.int8(0), 'stored_weights': weights}
    bundle = graph(tmp_path, nodes, {name: np.asarray(value) for name, value in constants.items()})
    assert bundle.manifest.precision == 'fp32'
    with OpenVinoEngine(bundle, EngineOptions(max_batch=2)) as engine:
        assert engine.info.precision == 'int8'


@pytest.mark.parametrize(
    ('device', 'says'),
    [
        ('tpu', 'expected auto, cpu, gpu or gpu:<index>'),
        ('gpu:first', 'expected auto, cpu, gpu or gpu:<index>'),
        ('gpu:63', 'finds only'),
    ],
)
def test_a_device_that_is_not_there_is_refused(bundle: Bundle, device: str, says: str) -> None:
    with pytest.raises(BackendError, match=says):
        open_engine(bundle, 'openvino', EngineOptions(device=device))
