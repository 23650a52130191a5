"""Which network is trained. To add one: its settings here, a module and a line in `models`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from perception_training.config.base import Settings


class RoadSceneConfig(Settings):
    """Multi-task network of YOLOX-nano's size: boxes at strides 8 to 32, label maps at 4."""

    name: Literal['roadscene']
    start: Path | None = Field(
        None, description='YOLOX-nano ONNX whose weights trunk and box head start from, below '
        'data.root; null = random weights')


class YoloConfig(Settings):
    """One-stage detector of the YOLOv8 kind; semantic heads stand beside the boxes."""

    name: Literal['yolo']
    size: Literal['n', 's', 'm', 'l', 'x'] = Field('n', description='depth and width')
    prototypes: int = Field(
        0, ge=0, le=256, description='that the masks of boxes are sums of; 0: boxes have no masks')


class UnetConfig(Settings):
    """U-Net of segmentation-models-pytorch."""

    name: Literal['unet']
    encoder: str = Field('resnet50', description='an encoder of segmentation-models-pytorch')
    weights: str | None = Field(
        None, description="of the encoder, such as 'imagenet', which is downloaded; null = random")


class DeepLabConfig(Settings):
    """DeepLabV3+ of segmentation-models-pytorch."""

    name: Literal['deeplabv3plus']
    encoder: str = Field('resnet50', description='an encoder of segmentation-models-pytorch')
    weights: str | None = Field(
        None, description="of the encoder, such as 'imagenet', which is downloaded; null = random")
    output_stride: Literal[8, 16] = Field(16, description='px per cell of the deepest features')


ModelConfig = Annotated[
    RoadSceneConfig | YoloConfig | UnetConfig | DeepLabConfig, Field(discriminator='name')]
