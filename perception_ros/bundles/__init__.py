"""The model on disk: manifest, integrity, and the import of foreign ONNX graphs."""

from perception_ros.bundles.bundle import Bundle, write_bundle
from perception_ros.bundles.manifest import Manifest

__all__ = ['Bundle', 'Manifest', 'write_bundle']
