"""Which network is trained. To add one: its settings here, a module and a line in `models`."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from perception_training.config.base import Settings


class NetworkConfig(Settings):
    """What every network has."""

    init: Literal['own', 'kaiming', 'xavier'] = Field(
        'own', description='how weights of layers are drawn that do not start from other weights: '
        "as the network's own module or library does, or all by one rule")
    dropout: float = Field(
        0.0, ge=0, lt=1, description='share of the channels of the shared features that heads do '
        'not see in a training step')


class RoadSceneConfig(NetworkConfig):
    """Multi-task network of YOLOX-nano's size: boxes at strides 8 to 32, label maps at 4."""

    name: Literal['roadscene']
    start: Path | None = Field(
        None, description='YOLOX-nano ONNX whose weights trunk and box head start from, below '
        'data.root; null = random weights')


class YoloConfig(NetworkConfig):
    """One-stage detector of the YOLOv8 kind; semantic heads stand beside the boxes."""

    name: Literal['yolo']
    size: Literal['n', 's', 'm', 'l', 'x'] = Field('n', description='depth and width')
    prototypes: int = Field(
        0, ge=0, le=256, description='that the masks of boxes are sums of; 0: boxes have no masks')
    nms_free: bool = Field(
        False, description='a second box head learns to give one box for each object, and is the '
        'one that answers: no suppression follows')


class MaskRcnnConfig(NetworkConfig):
    """Mask R-CNN of torchvision's layers; semantic heads stand beside the boxes."""

    name: Literal['mask_rcnn']
    backbone: Literal['resnet18', 'resnet34', 'resnet50', 'resnet101'] = 'resnet50'
    weights: Literal['coco', 'imagenet'] | None = Field(
        None, description='coco: of the whole network, for resnet50; imagenet: of the backbone; '
        "both are torchvision's, downloaded; null = random")
    trainable_layers: int = Field(
        3, ge=0, le=5, description='of the backbone, from the last on, where weights are given; '
        'its normalisation is then held still')
    anchors_px: tuple[int, int, int, int, int] = Field(
        (32, 64, 128, 256, 512), description='sides of anchors at strides 4 to 64')
    channels: int = Field(256, ge=1, description='of the pyramid, and of the mask head')
    hidden: int = Field(1024, ge=1, description='features of a region')
    candidates: int = Field(
        300, ge=1, le=2000, description='anchors of each level that may become proposals')
    proposals: int = Field(256, ge=1, le=2000, description='regions that are looked at')
    proposal_iou: float = Field(0.7, gt=0, le=1, description='of the suppression of proposals')
    samples: int = Field(128, ge=4, description='regions of an image that are learnt')
    nms_iou: float = Field(0.5, gt=0, le=1, description='of the suppression of answers')
    detections: int = Field(100, ge=1, le=512, description='answers with a mask')

    @model_validator(mode='after')
    def _weights_fit(self) -> Self:
        came = (self.backbone, self.channels, self.hidden)
        if self.weights == 'coco' and came != ('resnet50', 256, 1024):
            raise ValueError('weights: coco are those of backbone resnet50, channels 256, hidden '
                             f'1024, got {came}')
        return self


class RoadSegConfig(NetworkConfig):
    """Real-time semantic network: YOLOX-nano's backbone, label maps at stride 4, no boxes."""

    name: Literal['roadseg']
    start: Path | None = Field(
        None, description='YOLOX-nano ONNX whose weights the backbone starts from, below '
        'data.root; null = random weights')


class UnetConfig(NetworkConfig):
    """U-Net of segmentation-models-pytorch."""

    name: Literal['unet']
    encoder: str = Field('resnet50', description='an encoder of segmentation-models-pytorch')
    weights: str | None = Field(
        None, description="of the encoder, such as 'imagenet', which is downloaded; null = random")


class DeepLabConfig(NetworkConfig):
    """DeepLabV3+ of segmentation-models-pytorch."""

    name: Literal['deeplabv3plus']
    encoder: str = Field('resnet50', description='an encoder of segmentation-models-pytorch')
    weights: str | None = Field(
        None, description="of the encoder, such as 'imagenet', which is downloaded; null = random")
    output_stride: Literal[8, 16] = Field(16, description='px per cell of the deepest features')


class _FromTransformers(NetworkConfig):
    weights: str | None = Field(
        None, description='checkpoint of this size in the format of transformers: a folder, or a '
        'name on its hub, which is downloaded; null = random')
    library: dict[str, Any] = Field(
        default_factory=dict, description="further settings of transformers' configuration of "
        'the network, such as drop_path_rate')


class SegformerConfig(_FromTransformers):
    """SegFormer of transformers: a hierarchical transformer, label maps at stride 4."""

    name: Literal['segformer']
    size: Literal['b0', 'b1', 'b2', 'b3', 'b4', 'b5'] = Field('b0', description='depth and width')


class _QueriesConfig(_FromTransformers):
    queries: int = Field(300, ge=1, description='boxes that an image can have')


class RtDetrV2Config(_QueriesConfig):
    """RT-DETRv2 of transformers: a detector with queries, which needs no suppression."""

    name: Literal['rtdetrv2']
    size: Literal['r18', 'r34', 'r50', 'r101'] = Field('r18', description='its ResNet')


class DFineConfig(_QueriesConfig):
    """D-FINE of transformers: a detector with queries that refine distributions of sides."""

    name: Literal['dfine']
    size: Literal['n', 's', 'm', 'l', 'x'] = Field('n', description='depth and width')


ModelConfig = Annotated[
    RoadSceneConfig | YoloConfig | MaskRcnnConfig | RoadSegConfig | UnetConfig | DeepLabConfig |
    SegformerConfig | RtDetrV2Config | DFineConfig, Field(discriminator='name')]
