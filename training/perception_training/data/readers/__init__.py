"""Data sets by name. To add one: its settings in `config.data`, a module and a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perception_ros.core.errors import DatasetError
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import SourceConfig
from perception_training.data.readers.bag import Bag
from perception_training.data.readers.base import Kept, Source
from perception_training.data.readers.bdd100k import Bdd100k
from perception_training.data.readers.cache import kept
from perception_training.data.readers.camvid import CamVid
from perception_training.data.readers.cityscapes import Cityscapes
from perception_training.data.readers.coco import Coco
from perception_training.data.readers.images import ImageFiles
from perception_training.data.readers.kitti import Kitti
from perception_training.data.readers.shapes import Shapes
from perception_training.data.readers.video import Video
from perception_training.data.readers.yolo import Idd, YoloText
from perception_training.errors import DataError

READERS: Mapping[str, Callable[[Any, LabelsConfig, Path], Source]] = {
    'bag': Bag,
    'bdd100k': Bdd100k,
    'camvid': CamVid,
    'cityscapes': Cityscapes,
    'coco': Coco,
    'idd': Idd,
    'kitti': Kitti,
    'shapes': Shapes,
    'video': Video,
    'yolo': YoloText,
}

__all__ = ['READERS', 'Kept', 'Source', 'keep_source', 'open_source', 'read_source']


def open_source(config: SourceConfig, labels: LabelsConfig, root: Path,
                cache: Path | None = None) -> Source:
    """
    Open a set, decoded once where the settings ask for it.

    :param root: the folder with the data sets.
    :param cache: the folder for decoded images; None: they are kept in memory.
    :raises DataError: it is missing, or does not fit the class lists.
    """
    return keep_source(read_source(config, labels, root), config, labels, root, cache)


def read_source(config: SourceConfig, labels: LabelsConfig, root: Path) -> Source:
    """
    Open a set that decodes an image whenever it is asked for.

    :raises DataError: it is missing, or does not fit the class lists.
    """
    try:
        return READERS[config.reader](config, labels, root)
    except DatasetError as error:
        raise DataError(str(error)) from error


def keep_source(source: Source, config: SourceConfig, labels: LabelsConfig, root: Path,
                cache: Path | None) -> Source:
    """
    Decode a set once, where the settings ask for it.

    :raises DataError: an image or a label is damaged, or there is no room.
    """
    if not config.cache:
        return source
    if cache is not None and isinstance(source, ImageFiles):
        return kept(source, config, labels, root, cache)
    return Kept.all_of(source)
