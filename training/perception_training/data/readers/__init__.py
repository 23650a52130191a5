"""Data sets by name. To add one: its settings in `config.data`, a module and a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perception_ros.core.errors import DatasetError
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import SourceConfig
from perception_training.data.cache import kept
from perception_training.data.readers.base import Kept, Source
from perception_training.data.readers.bdd100k import Bdd100k
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

__all__ = ['READERS', 'Kept', 'Source', 'open_source']


def open_source(config: SourceConfig, labels: LabelsConfig, root: Path,
                cache: Path | None = None) -> Source:
    """
    Open a set.

    :param root: the folder with the data sets.
    :param cache: where decoded images are kept, for sources that ask for it; None: in memory.
    :raises DataError: it is missing, or does not fit the class lists.
    """
    try:
        source = READERS[config.reader](config, labels, root)
    except DatasetError as error:
        raise DataError(str(error)) from error
    if not config.cache:
        return source
    if cache is not None and isinstance(source, ImageFiles):
        return kept(source, config, labels, root, cache)
    return Kept.all_of(source)
