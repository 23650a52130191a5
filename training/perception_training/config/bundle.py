"""What the delivered bundle is called, how it selects, and what its card says."""

from pydantic import Field

from perception_ros.bundles.manifest import LicenceInfo
from perception_training.config.base import Settings


class DataUse(Settings):
    """A row of the card's table."""

    name: str
    use: str
    licence: str


class BundleConfig(Settings):
    """Settings of `export`; texts go into manifest and card as they stand here."""

    description: str = Field('A network of perception_training.', min_length=1)
    max_detections: int = Field(100, ge=1, le=3840, description='boxes of an answer')
    nms_iou: float = Field(0.6, gt=0, le=1, description='of suppression, for heads that need it')
    mask_cells: int = Field(
        28, ge=1, description='rows and columns of a mask that is a sum of prototypes')
    score_threshold: float = Field(0.3, ge=0, le=1, description="the node's default")
    semantic_stride: int = Field(2, ge=1, description='input pixels per cell of label maps')
    data: tuple[DataUse, ...] = Field((), description='what it was trained on')
    licence: LicenceInfo = LicenceInfo(weights='unknown', data='unknown')
    start: str = Field('random weights', description='what the weights started from')
    notes: tuple[str, ...] = Field((), description='paragraphs of the card on how it was made')
    val_notes: tuple[str, ...] = Field((), description='what to know about the validation sets')
    limits: tuple[str, ...] = Field((), description='known limits')
