"""Bundles in int8: ranges of activations, and what was learnt under them."""

from collections.abc import Iterable, Mapping, Sequence
import re

import numpy as np
from numpy.typing import NDArray
import onnx
from torch import nn

from perception_ros.bundles import Bundle, write_bundle
from perception_ros.bundles.graph import network as graphs
from perception_ros.bundles.graph.qdq import to_int8
from perception_ros.bundles.manifest import GraphInfo
from perception_ros.core.errors import QuantizationError
from perception_ros.quantization.ranges import limits
from perception_training.delivering.proof import Agreement
from perception_training.errors import TrainingError
from perception_training.models import Network
from perception_training.models.int8 import INT8, int8_layers

BOX_PX, SCORE, CELLS, UNPAIRED = 2.0, 0.05, 0.02, 0.1
"""Allowed between torch and a bundle: where a sum lies in the middle between two steps, the last
bit of a float decides, and a step of int8 is large."""


class Rounding:
    """Which convolutions of a network take which tensors of its bundle's graph."""

    def __init__(self, bundle: Bundle, network: nn.Module) -> None:
        """
        Pair them by the names of their weights, which an export keeps.

        :raises QuantizationError: no convolution can be put into int8.
        """
        self.graph = graphs.find_network(onnx.load(str(bundle.graph_path)))
        rounding = {*INT8, *INT8.values()}
        layers = {name for name, layer in network.named_modules() if type(layer) in rounding}
        nodes = {node.name: node for node in self.graph.model.graph.node}
        self._takes: dict[str, list[str]] = {}
        self.nodes: list[str] = []
        for name in self.graph.convolutions:
            found = re.search(r'(?:^|/)network\.(.+)\.weight$', nodes[name].input[1])
            if found and found[1] in layers:
                self._takes.setdefault(nodes[name].input[0], []).append(found[1])
                self.nodes.append(name)
        if not self.nodes:
            raise QuantizationError(
                f'{bundle.path}: expected convolutions that can be put into int8, got none')

    @property
    def inputs(self) -> tuple[tuple[str, ...], ...]:
        """
        Names of the layers that must round alike.

        They take the same tensor, or are one layer that takes several.
        """
        groups: list[set[str]] = []
        for takers in self._takes.values():
            same = [group for group in groups if group & set(takers)]
            groups = [group for group in groups if group not in same]
            groups.append(set(takers).union(*same))
        return tuple(tuple(sorted(group)) for group in groups)

    def measured(self, images: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
        """
        Give where to cut each tensor, by post-training calibration.

        :param images: uint8 `[H, W, 3]` each, of the input's size.
        """
        found = limits(self.graph, images)
        return {tensor: found[tensor] for tensor in self._takes}

    def by_layer(self, of_tensors: Mapping[str, float]) -> dict[str, float]:
        """Give the limit of each layer's input, of all that it takes."""
        found: dict[str, float] = {}
        for tensor, names in self._takes.items():
            for name in names:
                found[name] = max(found.get(name, 0.0), of_tensors[tensor])
        return found

    def by_tensor(self, of_layers: Mapping[str, float]) -> dict[str, float]:
        """Give the limit of each tensor, of the layers that take it."""
        return {tensor: of_layers[names[0]] for tensor, names in self._takes.items()}


def in_int8(bundle: Bundle, rounding: Rounding, limits_: Mapping[str, float],
            name: str) -> Bundle:
    """
    Write an fp32 bundle anew beside itself, with its convolutions in int8.

    :param limits_: tensor -> the greatest magnitude that is kept.
    :param name: of the new bundle and its folder.
    """
    payload = to_int8(rounding.graph, limits_, rounding.nodes).SerializeToString(
        deterministic=True)
    kept = tuple(n for n in rounding.graph.weighted if n not in rounding.nodes)
    manifest = bundle.manifest.model_copy(update={
        'name': name, 'precision': 'int8', 'kept_fp32': kept, 'graph': GraphInfo.of(payload)})
    return write_bundle(bundle.path.with_name(name), manifest, payload,
                        bundle.card_path.read_text(encoding='utf-8'), overwrite=True)


def learnt(network: Network) -> dict[str, float]:
    """Give the limit of each layer's input that training ended with."""
    return {name: float(layer.log_limit.detach().exp()) for name, layer in int8_layers(network)}


def require_close(rows: Sequence[Agreement]) -> None:
    """
    Require that an int8 bundle answers as the rounding network does, as far as int8 can.

    :raises TrainingError: they differ by more than is allowed.
    """
    wrong = [row for row in rows if not (
        row.box_px <= BOX_PX and row.score <= SCORE and row.cells <= CELLS
        and row.unpaired <= UNPAIRED * max(row.boxes, 1))]
    if wrong:
        raise TrainingError(
            'the int8 bundle does not answer as the rounding checkpoint does: '
            + '; '.join(str(row) for row in wrong)
            + f'; allowed: {BOX_PX} px, {SCORE} score, {CELLS:.0%} of cells, {UNPAIRED:.0%} of '
            'boxes without a partner')
