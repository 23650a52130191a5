"""Bundles in other precisions, without calibration: enough for a parser, useless on the road."""

from __future__ import annotations

from pathlib import Path

import onnx

from perception_ros.bundles import Bundle
from perception_ros.bundles.bundle import write_bundle
from perception_ros.bundles.graph.half import to_half
from perception_ros.bundles.graph.network import find_network
from perception_ros.bundles.graph.qdq import to_int8
from perception_ros.bundles.manifest import GraphInfo

LIMIT = 4.0
"""Greatest magnitude of an activation that int8 keeps; any will do here."""


def converted(bundle: Bundle, folder: Path, precision: str) -> Bundle:
    """Write a bundle with its network in 'fp16', or with its convolutions in 'int8'."""
    network = find_network(onnx.load(bundle.graph_path))
    if precision == 'fp16':
        model = to_half(network)
    else:
        chosen = set(network.convolutions)
        taken = {node.input[0] for node in network.model.graph.node if node.name in chosen}
        model = to_int8(network, dict.fromkeys(taken, LIMIT), chosen)
    payload = model.SerializeToString()
    changes = {'precision': precision, 'graph': GraphInfo.of(payload)}
    manifest = bundle.manifest.model_copy(update=changes)
    return write_bundle(folder / precision, manifest, payload, 'For tests of the parser.')
