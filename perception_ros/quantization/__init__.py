"""Bundles in lower precision: chosen images, sensitive layers left alone, an accuracy gate."""

from perception_ros.quantization.gate import Gate
from perception_ros.quantization.images import choose_images, ImageSet
from perception_ros.quantization.quantize import Outcome, quantize, Request

__all__ = ['Gate', 'ImageSet', 'Outcome', 'Request', 'choose_images', 'quantize']
