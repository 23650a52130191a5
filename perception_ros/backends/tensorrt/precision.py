"""Which precision a parsed network really has: its own tensor types, not what was asked for.

The network is strongly typed, so the types of its tensors are those that the engine computes in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING

from perception_ros.backends.tensorrt.library import Library
from perception_ros.core.errors import BackendError

if TYPE_CHECKING:
    import tensorrt as trt

_NAMES = {'FLOAT': 'fp32', 'HALF': 'fp16', 'BF16': 'bf16', 'INT8': 'int8', 'FP8': 'fp8'}

Layers = Mapping[str, Mapping[str, int]]
"""Type of layer -> type that it computes in -> how many."""


def layer_types(network: trt.INetworkDefinition, library: Library) -> dict[str, dict[str, int]]:
    """Count the layers by type and by what they compute in: {'convolution': {'fp16': 64}}.

    Layers that compute nothing in floating point, such as those that reckon with shapes, are left
    out.
    """
    counts: dict[str, Counter[str]] = {}
    quantized = _quantized(network, library)
    for layer in _layers(network):
        dtype = _computes_in(layer, quantized)
        if dtype:
            counts.setdefault(layer.type.name.lower(), Counter())[dtype] += 1
    return {name: dict(counter) for name, counter in sorted(counts.items())}


def shares_of_work(network: trt.INetworkDefinition, library: Library) -> dict[str, float]:
    """Return which share of all multiplications is done in which precision, the greatest first.

    Convolutions and matrix products count, by their multiplications for one image; empty where
    there are none.
    """
    work: Counter[str] = Counter()
    quantized = _quantized(network, library)
    for layer in _layers(network):
        amount = _multiplications(layer, library)
        if amount:
            work[_computes_in(layer, quantized)] += amount
    total = sum(work.values())
    return {name: amount / total for name, amount in work.most_common()}


def heavy_layers(network: trt.INetworkDefinition, library: Library) -> Iterator[trt.ILayer]:
    """Yield the layers that a network spends its time in."""
    return (layer for layer in _layers(network) if _multiplications(layer, library))


def check_precision(claimed: str, shares: Mapping[str, float], origin: str) -> str:
    """Return the precision that most of the work is done in, which must be the one claimed.

    What claims fp32 must do all of its work in it. A network without heavy layers is believed.

    :raises BackendError: the network is not what its manifest says.
    """
    if not shares:
        return claimed
    got = max(shares, key=lambda name: shares[name])
    if got == claimed and (claimed != 'fp32' or len(shares) == 1):
        return got
    found = ', '.join(f'{share:.1%} in {name}' for name, share in shares.items())
    make = '' if claimed == 'fp32' else f' with `perception_ros quantize --precision {claimed}`'
    raise BackendError(
        f'{origin}: expected convolutions and matrix products in {claimed}, as bundle.yaml says; '
        f'got {found} of the work; correct `precision` there, or make the bundle anew{make}'
    )


def _layers(network: trt.INetworkDefinition) -> Iterator[trt.ILayer]:
    return (network.get_layer(index) for index in range(network.num_layers))


def _quantized(network: trt.INetworkDefinition, library: Library) -> dict[str, str]:
    """Return what each tensor was before it was dequantised: name -> 'int8'."""
    dequantize = library.module.LayerType.DEQUANTIZE
    return {
        layer.get_output(0).name: _NAMES.get(layer.get_input(0).dtype.name, 'other')
        for layer in _layers(network)
        if layer.type == dequantize
    }


def _computes_in(layer: trt.ILayer, quantized: Mapping[str, str]) -> str:
    """Return what a layer computes in; '' if that is no floating point.

    A layer whose inputs all come straight from dequantisation is fused with it.
    """
    slots: list[trt.ITensor | None] = [layer.get_input(n) for n in range(layer.num_inputs)]
    inputs = [tensor for tensor in slots if tensor is not None]
    if not inputs:
        return ''
    if layer.get_output(0).dtype.name not in _NAMES:
        return ''
    stored = {quantized.get(tensor.name, '') for tensor in inputs[:2]}
    if len(stored) == 1 and '' not in stored and len(inputs) > 1:
        return stored.pop()
    return _NAMES.get(inputs[0].dtype.name, '')


def _multiplications(layer: trt.ILayer, library: Library) -> int:
    """Return how many multiplications a heavy layer makes for one image; 0 for all others."""
    kinds = library.module.LayerType
    amount = 0
    # The binding gives every layer as an ILayer; NVIDIA's way down to its own type is this.
    if layer.type == kinds.CONVOLUTION:
        layer.__class__ = library.module.IConvolutionLayer
        assert isinstance(layer, library.module.IConvolutionLayer)
        channels = layer.get_input(0).shape[1] // layer.num_groups
        amount = _volume(layer.get_output(0)) * prod(layer.kernel_size_nd[:]) * channels
    elif layer.type == kinds.DECONVOLUTION:
        layer.__class__ = library.module.IDeconvolutionLayer
        assert isinstance(layer, library.module.IDeconvolutionLayer)
        channels = layer.num_output_maps // layer.num_groups
        amount = _volume(layer.get_input(0)) * prod(layer.kernel_size_nd[:]) * channels
    elif layer.type == kinds.MATRIX_MULTIPLY:
        layer.__class__ = library.module.IMatrixMultiplyLayer
        assert isinstance(layer, library.module.IMatrixMultiplyLayer)
        shape = layer.get_input(0).shape
        transposed = layer.op0 == library.module.MatrixOperation.TRANSPOSE
        summed = shape[len(shape) - (2 if transposed else 1)]
        amount = _volume(layer.get_output(0)) * max(summed, 1)
    return amount


def _volume(tensor: trt.ITensor) -> int:
    """Return the number of elements for one image."""
    return prod(max(n, 1) for n in tensor.shape[:])
