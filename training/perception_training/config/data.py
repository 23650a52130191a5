"""Which images a run sees, and how they are changed before it sees them."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from perception_training.config.base import Settings
from perception_training.config.labels import HeadName

Pseudo = Literal['none', 'confirm', 'complete', 'label']


class _Source(Settings):
    share: int = Field(1, ge=1, description='images of this set beside those of the others')
    cache: bool = Field(False, description='keep all decoded images in memory')
    classes: dict[str, str] = Field(
        default_factory=dict, description='class of the set -> class of labels.boxes, or ignore: '
        'neither that class nor background; equal names need no entry')
    semantic_classes: dict[str, str] = Field(
        default_factory=dict, description='the same for label maps')
    pseudo: Pseudo = Field(
        'none', description='confirm: the box teacher adds boxes where the label map agrees; '
        'complete: what it finds beside the labels is unknown, the road teacher adds road; label: '
        'both teachers give all labels')


class CamVidConfig(_Source):
    """CamVid: a label map for each frame; no boxes."""

    reader: Literal['camvid']
    split: Literal['train', 'val']
    head: HeadName = Field('scene', description='semantic head that learns from its label maps')
    instances: bool = Field(
        False, description='connected regions of cars and pedestrians stand for instances: those '
        'that touch count as one')


class IddConfig(_Source):
    """India Driving Dataset: YOLO text, split by recording date."""

    reader: Literal['idd']
    drives: Path = Field(description='file with the held-out recording dates, one a line')
    held_out: bool = Field(description='whether these drives are read, or all others')


class VideoConfig(_Source):
    """Frames of videos, with no labels at all."""

    reader: Literal['video']
    folder: str = Field('clips', description='below data.root')
    every: int = Field(4, ge=1, description='take every n-th frame')


class ShapesConfig(_Source):
    """Drawn streets with cars and people: data that every machine has, with all labels."""

    reader: Literal['shapes']
    count: int = Field(64, ge=1, description='images')
    width: int = Field(128, ge=32, description='px')
    height: int = Field(96, ge=32, description='px')
    seed: int = Field(0, description='the same seed draws the same images')
    head: HeadName = Field('scene', description='semantic head that learns from its label maps')


SourceConfig = Annotated[
    CamVidConfig | IddConfig | VideoConfig | ShapesConfig, Field(discriminator='reader')]


class TeachersConfig(Settings):
    """Foreign models that label what data sets do not, below data.root."""

    boxes: Path = Field(Path('models/yolox_nano.onnx'), description='YOLOX of 80 COCO classes')
    road: Path = Field(Path('models/twinlitenet.onnx'), description='TwinLiteNet')
    head: HeadName = Field('scene', description='semantic head that learns road and cars')
    weight: float = Field(0.5, ge=0, description='what a pixel counts that a teacher labelled')


class DataConfig(Settings):
    """Training and validation sets."""

    root: Path = Field(description='the folder with the data sets')
    train: tuple[SourceConfig, ...] = Field(min_length=1)
    val: tuple[SourceConfig, ...] = ()
    teachers: TeachersConfig = TeachersConfig()
    workers: int = Field(1, ge=0, description='processes of each rank that make batches')
    prefetch: int = Field(4, ge=1, description='batches that each worker makes ahead')


class AugmentConfig(Settings):
    """Random views of an image; scales are relative to the letterboxed test size."""

    width: int = Field(448, multiple_of=32, description='px of the view')
    height: int = Field(256, multiple_of=32, description='px of the view')
    scale_min: float = Field(0.45, gt=0, description='1 = as large as at test time')
    scale_max: float = Field(1.8, gt=0, description='1 = as large as at test time')
    flip: float = Field(0.5, ge=0, le=1, description='probability of a mirrored view')
    colour: float = Field(1.0, ge=0, description='strength of colour changes, 0 = none')
    noise: float = Field(0.0, ge=0, description='greatest standard deviation, in grey values')
    blur: float = Field(0.15, ge=0, le=1, description='probability of a slight blur')
    mosaic: float = Field(0.0, ge=0, le=1, description='probability of four views in one')
