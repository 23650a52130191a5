"""How great a network's tensors become on real images, and where to cut them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.bundles.graph.network import cut_out, Network
from perception_ros.bundles.graph.qdq import LEVELS
from perception_ros.bundles.session import Session

# A float's exponent and the first seven bits of its fraction number its bin: magnitudes in one bin
# differ by less than a hundredth, from the smallest to the greatest, without a look beforehand.
_SHIFT, _BINS = 16, 1 << 15
_MIDDLES = ((np.arange(_BINS, dtype=np.int32) << _SHIFT) + (1 << (_SHIFT - 1))).view(np.float32)
_SHARES = np.linspace(0.2, 1.0, 81)
"""Limits that are tried, as shares of the greatest magnitude."""


class Magnitudes:
    """A histogram of the magnitudes of one tensor's values."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self.greatest = 0.0

    def add(self, values: NDArray[np.float32]) -> None:
        """Count float32 values of any shape; those that are not finite make all infinite."""
        bits = np.ascontiguousarray(values).reshape(-1).view(np.int32) & 0x7FFFFFFF
        self._counts += np.bincount(bits >> _SHIFT, minlength=_BINS)
        if len(bits):
            greatest = float(np.asarray(bits.max()).view(np.float32))
            self.greatest = max(self.greatest, greatest if np.isfinite(greatest) else np.inf)

    def limit(self) -> float:
        """Return where to cut, so that int8 makes the least squared error.

        Few great values are worth less than a finer step for all others.
        """
        used = np.flatnonzero(self._counts)
        counts, values = self._counts[used], _MIDDLES[used].astype(np.float64)
        errors = []
        for limit in self.greatest * _SHARES:
            step = limit / LEVELS or 1.0
            kept = np.minimum(np.round(values / step), LEVELS) * step
            errors.append(float((counts * (values - kept) ** 2).sum()))
        return float(self.greatest * _SHARES[int(np.argmin(errors))])


def measure(
    network: Network, tensors: Sequence[str], images: Iterable[NDArray[np.uint8]]
) -> Mapping[str, Magnitudes]:
    """Run images, uint8 [H, W, 3] each, and return the magnitudes of these float32 tensors."""
    session = Session(
        cut_out(network.model, tensors).SerializeToString(), 'the network with its inner tensors'
    )
    found = {name: Magnitudes() for name in tensors}
    for image in images:
        for name, values in session.run({INPUT_NAME: image[None]}).items():
            found[name].add(values)
    return found


def limits(
    network: Network, images: Iterable[NDArray[np.uint8]]
) -> dict[str, float]:
    """Return where to cut the input of each convolution."""
    convolutions = set(network.convolutions)
    inputs = dict.fromkeys(
        node.input[0] for node in network.model.graph.node if node.name in convolutions
    )
    return {name: found.limit() for name, found in measure(network, list(inputs), images).items()}
