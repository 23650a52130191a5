"""TensorRT-RTX: the backend of `perception_ros.backends.tensorrt` with the sibling library."""

from __future__ import annotations

from perception_ros.backends import tensorrt
from perception_ros.backends.base import Engine, EngineOptions
from perception_ros.bundles.bundle import Bundle


def probe() -> str:
    """Say which library, GPU and driver are here."""
    return tensorrt.probe('tensorrt_rtx')


def open_bundle(bundle: Bundle, options: EngineOptions) -> Engine:
    """Return an engine for a bundle."""
    return tensorrt.open_bundle(bundle, options, 'tensorrt_rtx')
