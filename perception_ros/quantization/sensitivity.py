"""How much each convolution alone, in int8, disturbs what the network says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx

from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.bundles.graph.network import cut_out, Network
from perception_ros.bundles.graph.qdq import to_int8
from perception_ros.bundles.session import Answer, Session

IMAGES = 2
"""Images that the errors are measured on: they differ by layer, far more than by image."""


def errors_alone(
    network: Network,
    limits: Mapping[str, float],
    images: NDArray[np.uint8],
    track: Callable[[Sequence[Any]], Iterable[Any]] = iter,
) -> dict[str, float]:
    """Return the error of each convolution when it alone is in int8.

    An error is the squared difference of the network's results as a share of their variance, on
    average over the results. Errors of several layers together are about the sum of theirs.
    """
    images = images[:IMAGES]
    exact = _run(network.model, network, images)
    return {
        name: _error(_run(to_int8(network, limits, {name}), network, images), exact)
        for name in track(network.convolutions)
    }


def within(errors: Mapping[str, float], budget: float) -> frozenset[str]:
    """Return the layers to put into int8: as many as have a sum of errors within the budget."""
    chosen: set[str] = set()
    total = 0.0
    for name in sorted(errors, key=lambda name: errors[name]):
        total += errors[name]
        if not total <= budget:  # an error that is not a number ends it too
            break
        chosen.add(name)
    return frozenset(chosen)


def _run(model: onnx.ModelProto, network: Network, images: NDArray[np.uint8]) -> Answer:
    part = cut_out(model, network.results)
    return Session(part.SerializeToString(), 'the network').run({INPUT_NAME: images})


def _error(came: Answer, exact: Answer) -> float:
    shares = []
    for name, values in exact.items():
        difference = float(((came[name] - values) ** 2).mean())
        shares.append(difference / max(float(values.var()), 1e-12))
    return float(np.mean(shares))
