"""Graphs in lower precision, the fastest first, each with fewer sensitive layers than the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import onnx

from perception_ros.bundles.graph.half import GREATEST, to_half
from perception_ros.bundles.graph.network import Network
from perception_ros.bundles.graph.qdq import to_int8
from perception_ros.core.errors import QuantizationError
from perception_ros.quantization.images import ImageSet
from perception_ros.quantization.ranges import limits, measure
from perception_ros.quantization.sensitivity import errors_alone, within

BUDGETS = (0.1, 0.05, 0.02, 0.01, 0.005)
"""Sums of errors alone that are tried for int8, one after the other."""
NORMALISING = frozenset({
    'BatchNormalization', 'Div', 'Exp', 'GroupNormalization', 'InstanceNormalization',
    'LayerNormalization', 'Log', 'LogSoftmax', 'Pow', 'Reciprocal', 'ReduceL2', 'ReduceMean',
    'ReduceSum', 'ReduceSumSquare', 'Softmax', 'Sqrt',
})
"""Operators that divide, sum or exponentiate, which is where half precision fails first."""
_HALF_IMAGES = 8


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A graph, and what was left out of its precision and why."""

    model: onnx.ModelProto
    kept: tuple[str, ...]
    """Nodes with weights that stay fp32."""
    weighted: int
    """How many nodes with weights there are."""
    reason: str
    """Why those stay, in words; empty where none does."""


class Track(Protocol):
    """Hands on what it is given, perhaps with a progress bar."""

    def __call__(self, items: Sequence[Any], description: str) -> Iterable[Any]:
        """Return the items one by one."""


def half_candidates(network: Network, images: ImageSet) -> Iterator[Candidate]:
    """Yield the network in half precision, all but what overflows; then without normalisation.

    What overflows is found on real images in float32, because runtimes on a CPU compute half
    precision in float32 and hide it.
    """
    inner = [node for node in network.model.graph.node if node.name in network.inside]
    floats = _float_outputs(network, inner)
    found = measure(network, floats, images.calibration[:_HALF_IMAGES])
    great = {name for name in floats if not found[name].greatest <= GREATEST / 2}
    keep = {node.name for node in inner if great & {*node.input, *node.output}}
    yield _half(network, keep, 'their values come near the greatest that fp16 holds')
    careful = keep | {node.name for node in inner if node.op_type in NORMALISING}
    if careful != keep:
        yield _half(network, careful, 'they normalise, or their values are too great for fp16')


def int8_candidates(
    network: Network, images: ImageSet, *, spare: bool, track: Track
) -> Iterator[Candidate]:
    """Yield the network with its convolutions in int8, ever fewer of them.

    :param spare: False: only with all of them.
    :raises QuantizationError: there is no convolution.
    """
    if not network.convolutions:
        raise QuantizationError('int8: expected convolutions in the network, got none; try fp16')
    bounds = limits(network, track(list(images.calibration), 'ranges'))
    if not spare:
        yield _int8(network, bounds, frozenset(network.convolutions), '')
        return
    errors = errors_alone(
        network, bounds, images.held_out, lambda names: track(names, 'sensitive layers')
    )
    tried: set[frozenset[str]] = set()
    for budget in BUDGETS:
        chosen = within(errors, budget)
        if not chosen or chosen in tried:
            continue
        tried.add(chosen)
        least = min((errors[name] for name in errors if name not in chosen), default=0.0)
        yield _int8(
            network, bounds, chosen,
            f'each alone in int8 disturbs the results by {least:.1e} or more of their variance; '
            f'all others together by {sum(errors[name] for name in chosen):.1e}',
        )


def _half(network: Network, keep: set[str], reason: str) -> Candidate:
    model = to_half(network, keep)
    inputs = {node.name: node.input for node in model.graph.node}
    kept = tuple(
        name for name in network.weighted
        if not any(tensor.endswith('/half') for tensor in inputs[name])
    )
    return Candidate(model, kept, len(network.weighted), reason if kept else '')


def _int8(
    network: Network, bounds: dict[str, float], chosen: frozenset[str], reason: str
) -> Candidate:
    kept = tuple(name for name in network.weighted if name not in chosen)
    return Candidate(
        to_int8(network, bounds, chosen), kept, len(network.weighted), reason if kept else ''
    )


def _float_outputs(network: Network, nodes: Sequence[onnx.NodeProto]) -> list[str]:
    values = onnx.shape_inference.infer_shapes(network.model).graph.value_info
    floats = {
        value.name for value in values
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    }
    return [name for node in nodes for name in node.output if name in floats]


