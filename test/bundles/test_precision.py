"""Which part of a graph is put into lower precision, and what it then computes."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import pytest

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle, write_bundle
from perception_ros.bundles.graph.half import to_half
from perception_ros.bundles.graph.network import cut_out, find_network
from perception_ros.bundles.graph.qdq import to_int8
from perception_ros.bundles.manifest import GraphInfo
from perception_ros.bundles.session import Session
from perception_ros.core.errors import BundleError
from test.quantization.networks import network_model, patches, write_colours

FLOAT, HALF, INT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8
LIMITS = {'pixels': 1.0, 'b': 1.0, 'c': 1.0}


def images(count: int = 3) -> np.ndarray:
    return np.stack([patches(seed)[0] for seed in range(count)])


def types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of each tensor."""
    graph = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True).graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    return found | {tensor.name: tensor.data_type for tensor in graph.initializer}


def outputs(model: onnx.ModelProto, *names: str) -> dict[str, np.ndarray]:
    session = Session(cut_out(model, names).SerializeToString(), 'the part')
    return session.run({'images': images()})


class TestNetwork:

    def test_it_is_all_between_the_first_and_the_last_weights(self) -> None:
        network = find_network(network_model())
        assert network.weighted == ('first', 'depthwise', 'last')
        assert network.inside == {'first', 'relu', 'depthwise', 'last'}
        assert network.results == ('logits',)

    def test_nodes_without_names_get_some_and_constants_count_as_weights(self) -> None:
        model = network_model()
        graph = model.graph
        for node in graph.node:
            node.name = ''
        weight = next(item for item in graph.initializer if item.name == 'first.weight')
        constant = helper.make_node('Constant', [], ['first.weight'], value=weight)
        graph.initializer.remove(weight)
        graph.node.insert(0, constant)
        network = find_network(model)
        assert len(network.weighted) == len(set(network.weighted)) == 3

    def test_a_product_of_two_computed_tensors_has_no_weights(self) -> None:
        """As in suppression, which counts boxes by MatMul."""
        model = network_model()
        model.graph.node.insert(9, helper.make_node('MatMul', ['shares', 'shares'], ['x'], 'nms'))
        assert 'nms' not in find_network(model).inside

    def test_without_weights_it_says_so(self, tmp_path: Path) -> None:
        model = network_model()
        del model.graph.node[3:7]
        with pytest.raises(BundleError, match='weights.*got none'):
            find_network(model)

    def test_a_part_can_be_cut_out(self) -> None:
        part = cut_out(network_model(), ['b'])
        assert [node.name for node in part.graph.node] == [
            'cast', 'nchw', 'scaled', 'first', 'relu'
        ]
        assert {item.name for item in part.graph.initializer} == {'first.weight', 'white'}


class TestHalf:

    def test_the_network_is_half_and_all_around_it_is_not(self) -> None:
        model = to_half(find_network(network_model()))
        onnx.checker.check_model(model, full_check=True)
        found = types(model)
        stored = {item.name: item.data_type for item in model.graph.initializer}
        assert stored['first.weight/half'] == stored['depthwise.bias/half'] == HALF
        assert {found[f'{name}/half'] for name in ('pixels', 'a', 'b', 'c', 'logits')} == {HALF}
        assert {found[name] for name in ('pixels', 'logits', 'shares')} == {FLOAT}
        assert stored['white'] == FLOAT
        assert 'first.weight' not in stored

    def test_it_computes_the_same_within_half_precision(self) -> None:
        exact = outputs(network_model(), 'shares')['shares']
        half = outputs(to_half(find_network(network_model())), 'shares')['shares']
        assert np.abs(half - exact).max() < 1e-3

    def test_what_is_to_be_kept_stays(self) -> None:
        model = to_half(find_network(network_model()), keep={'depthwise'})
        found = types(model)
        assert (found['b/half'], found['b'], found['c']) == (HALF, FLOAT, FLOAT)
        assert 'depthwise.weight/half' not in found

    @pytest.mark.parametrize('value', [1e6, 1e-8], ids=['too great', 'too small'])
    def test_a_constant_that_half_cannot_hold_keeps_its_node(self, value: float) -> None:
        model = network_model()
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(np.float32(value)), 'k'))
        model.graph.node[4].CopyFrom(helper.make_node('Add', ['a', 'k'], ['b'], 'plus'))
        found = types(to_half(find_network(model)))
        assert found['k'] == FLOAT
        assert found['c/half'] == HALF

    def test_sizes_of_a_resize_stay_what_they_must_be(self) -> None:
        model = network_model()
        scales = numpy_helper.from_array(np.ones(4, np.float32), 'scales')
        model.graph.initializer.append(scales)
        model.graph.node[4].CopyFrom(helper.make_node('Resize', ['a', '', 'scales'], ['b'], 'up'))
        half = to_half(find_network(model))
        found = types(half)
        assert (found['b/half'], found['scales']) == (HALF, FLOAT)
        assert outputs(half, 'logits')['logits'].shape == (3, 3, 64, 96)


class TestInt8:

    def test_weights_are_stored_as_int8_and_each_activation_has_one_pair(self) -> None:
        model = to_int8(find_network(network_model()), LIMITS, {'first', 'depthwise', 'last'})
        onnx.checker.check_model(model, full_check=True)
        stored = {item.name: item for item in model.graph.initializer}
        assert stored['first.weight/q'].data_type == INT8
        assert list(stored['first.weight/scale'].dims) == [4]
        assert stored['depthwise.bias'].data_type == FLOAT
        kinds = [node.op_type for node in model.graph.node]
        assert (kinds.count('QuantizeLinear'), kinds.count('DequantizeLinear')) == (3, 6)
        zeros = [value for name, value in stored.items() if name.endswith('/zero')]
        assert all(not numpy_helper.to_array(value).any() for value in zeros), 'TensorRT wants 0'

    def test_only_what_is_chosen(self) -> None:
        model = to_int8(find_network(network_model()), LIMITS, {'first'})
        stored = {item.name for item in model.graph.initializer}
        assert 'first.weight/q' in stored and 'last.weight' in stored

    def test_an_input_of_two_convolutions_is_quantised_once(self) -> None:
        model = network_model()
        model.graph.node.insert(
            6, helper.make_node('Conv', ['b', 'depthwise.weight'], ['d'], 'twin', group=4)
        )
        model.graph.node[7].input[0] = 'd'
        done = to_int8(find_network(model), LIMITS | {'d': 1.0}, {'depthwise', 'twin'})
        assert [node.op_type for node in done.graph.node].count('QuantizeLinear') == 1

    def test_values_beyond_the_limit_are_cut_to_it(self) -> None:
        done = to_int8(find_network(network_model()), LIMITS | {'pixels': 0.25}, {'first'})
        assert outputs(done, 'a')['a'].max() == pytest.approx(0.25)

    def test_it_is_what_onnxruntimes_own_quantizer_makes(self) -> None:
        """The recipe that TensorRT takes, from the library's side."""
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorData, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        rng = np.random.default_rng(0)
        model = network_model()
        for item in model.graph.initializer:
            if item.name.endswith('.weight'):
                values = rng.normal(size=tuple(item.dims)).astype(np.float32)
                item.CopyFrom(numpy_helper.from_array(values, item.name))
        limits = {'pixels': 1.0, 'b': 3.0, 'c': 7.0}
        ranges = {
            name: TensorData(lowest=np.float32(-limit), highest=np.float32(limit))
            for name, limit in limits.items()
        }
        names = ['first', 'depthwise', 'last']
        logging.disable(logging.WARNING)  # of shapes that it does not need
        try:
            quantizer = QDQQuantizer(
                onnx.shape_inference.infer_shapes(model), True, False, QuantType.QInt8,
                QuantType.QInt8, TensorsData(CalibrationMethod.MinMax, ranges), names, [],
                ['Conv'],
                {'ActivationSymmetric': True, 'WeightSymmetric': True, 'QuantizeBias': False,
                 'OpTypesToExcludeOutputQuantization': ['Conv']},
            )
            theirs = quantizer.quantize_model()
        finally:
            logging.disable(logging.NOTSET)
        ours = to_int8(find_network(model), limits, set(names))
        expected = outputs(theirs, 'logits')['logits']
        np.testing.assert_allclose(outputs(ours, 'logits')['logits'], expected, atol=1e-4)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
@pytest.mark.parametrize('backend', ['onnxruntime', 'openvino'])
def test_every_backend_runs_it(tmp_path: Path, precision: str, backend: str) -> None:
    bundle = lower(write_colours(tmp_path / 'fp32'), tmp_path / 'low', precision)
    with open_engine(bundle, backend, EngineOptions(max_batch=3)) as engine:
        assert engine.info.precision == precision
        request = engine.request()
        request.images[...] = images()
        request.start(3)
        found = request.result()['semantic_ground']
        expected = np.stack([patches(seed)[1] for seed in range(3)])
        assert (found != expected).mean() < 0.01
        request.release()


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_tensorrt_takes_it(
    tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The builder itself checks what the convolutions are computed in."""
    pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    from test.cli.test_commands import call

    monkeypatch.setenv('PERCEPTION_ROS_CACHE', str(tmp_path / 'cache'))
    bundle = lower(write_colours(tmp_path / 'fp32'), tmp_path / 'low', precision)
    assert call('build', bundle.path, '--backend', 'tensorrt_rtx', '--max-batch', 2) == 0


def lower(bundle: Bundle, path: Path, precision: str) -> Bundle:
    """Write a bundle in lower precision, whatever it loses."""
    network = find_network(onnx.load(str(bundle.graph_path)))
    if precision == 'fp16':
        model = to_half(network)
    else:
        inputs = {
            node.input[0] for node in network.model.graph.node
            if node.name in network.convolutions
        }
        model = to_int8(network, dict.fromkeys(inputs, 1.0), set(network.convolutions))
    payload = model.SerializeToString()
    changes = {'precision': precision, 'graph': GraphInfo.of(payload), 'name': path.name}
    return write_bundle(path, bundle.manifest.model_copy(update=changes), payload, 'lower')
