"""Data sets: which there are, what of them is read, and where their classes lead."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from perception_training.config.base import Settings
from perception_training.config.labels import HeadName

Pseudo = Literal['none', 'confirm', 'complete', 'label']


class _Source(Settings):
    share: int = Field(1, ge=1, description='images of this set beside those of the others')
    cache: bool = Field(
        False, description='decode once: images in files into a file below data.cache that all '
        'processes map into memory, others into the memory of each process')
    classes: dict[str, str] = Field(
        default_factory=dict, description="class of the set, or '*' for all that are not named "
        'here nor in labels.boxes -> class of labels.boxes; ignore: neither that class nor '
        'background; background: nothing; equal names need no entry')
    semantic_classes: dict[str, str] = Field(
        default_factory=dict, description='the same for label maps, where ignore is unknown and '
        'background a class like others')
    pseudo: Pseudo = Field(
        'none', description='confirm: the box teacher adds boxes where the label map agrees; '
        'complete: what it finds beside the labels is unknown, the road teacher adds road; label: '
        'both teachers give all labels')


class _Images(_Source):
    """Images in files, some of which can be held out by a list."""

    drives: Path | None = Field(
        None, description='file with drives, one a line: recordings that lie on one side as a '
        'whole')
    frames: Path | None = Field(None, description='file with names of images, one a line')
    held_out: bool | None = Field(
        None, description='whether those that drives or frames names are read, or all others')
    max_side: int | None = Field(
        None, ge=64, description='px; larger images are scaled down, with all labels, when they '
        'are read')

    @model_validator(mode='after')
    def _list_and_side_of_it(self) -> Self:
        lists = [name for name in ('drives', 'frames') if getattr(self, name) is not None]
        if len(lists) > 1:
            raise ValueError('expected drives or frames to be held out, got both')
        if bool(lists) != (self.held_out is not None):
            raise ValueError('expected a list (drives or frames) and held_out, or neither; got '
                             f'{lists or "no list"} and held_out {self.held_out}')
        return self


class CamVidConfig(_Images):
    """CamVid: a label map for each frame; no boxes."""

    reader: Literal['camvid']
    split: Literal['train', 'val']
    head: HeadName = Field('scene', description='semantic head that learns from its label maps')
    instances: bool = Field(
        False, description='connected regions of cars and pedestrians stand for instances: those '
        'that touch count as one')


class CityscapesConfig(_Images):
    """Cityscapes: fine label maps in 19 classes, and instances of 8 of them."""

    reader: Literal['cityscapes']
    folder: str = Field('cityscapes', description='with leftImg8bit and gtFine, below data.root')
    split: Literal['train', 'val']
    head: HeadName = Field('scene', description='semantic head that learns from its label maps')
    outlines: bool = Field(True, description='of instances, beside their boxes')


class KittiConfig(_Images):
    """KITTI object detection; training's images alone have labels, so a list must split them."""

    reader: Literal['kitti']
    folder: str = Field(
        'kitti/training', description='with image_2 and label_2, below data.root')
    mapping: str | None = Field(
        None, description='folder with train_mapping.txt and train_rand.txt of the development '
        'kit, below data.root: tells the recording of each image, which drives needs')


class Bdd100kConfig(_Images):
    """BDD100K: boxes, drivable area and lane marks."""

    reader: Literal['bdd100k']
    folder: str = Field('bdd100k', description='with images and labels, below data.root')
    split: Literal['train', 'val']
    drivable: HeadName = Field(
        'drivable', description='head that learns direct, alternative and background')
    lane: HeadName = Field(
        'lane', description='head that learns kinds of lane marks and background')


class CocoConfig(_Images):
    """A COCO file: boxes, and outlines as polygons or run lengths."""

    reader: Literal['coco']
    annotations: str = Field(description='the JSON file, below data.root')
    folder: str = Field(description='its images, below data.root')
    outlines: bool = Field(False, description='of objects, beside their boxes')


class YoloTextConfig(_Images):
    """YOLO text: a line `class cx cy w h` for each box, as shares of the image."""

    reader: Literal['yolo']
    folder: str = Field(
        description='below data.root; images and labels in folders of these names')
    split: str = Field('', description='images in images/SPLIT or SPLIT/images')
    class_names: tuple[str, ...] = Field(
        (), description='of a set that has neither data.yaml nor classes.txt')
    empty: bool = Field(
        False, description='an image without a file of labels holds nothing; else it is an error')


class IddConfig(YoloTextConfig):
    """India Driving Dataset as YOLO text, split by recording date."""

    reader: Literal['idd']
    folder: str = Field('idd', description='below data.root')
    class_names: tuple[str, ...] = ('car', 'bus', 'truck', 'person', 'motorbike', 'bicycle')
    drives: Path = Field(description='file with recording dates, one a line')
    held_out: bool = Field(description='whether these drives are read, or all others')


class BagConfig(_Source):
    """A bag with labels, as `perception_ros bag make` writes them: boxes, label maps, or both."""

    reader: Literal['bag']
    bag: str = Field(description='.mcap, .db3, .bag or a folder of these, below data.root; one '
                     'recording, so that another bag is what to hold out')
    cameras: tuple[str, ...] = Field((), description='those that are read; none: all')
    every: int = Field(1, ge=1, description='take every n-th image of each camera')


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
    BagConfig | Bdd100kConfig | CamVidConfig | CityscapesConfig | CocoConfig | IddConfig |
    KittiConfig | ShapesConfig | VideoConfig | YoloTextConfig, Field(discriminator='reader')]
