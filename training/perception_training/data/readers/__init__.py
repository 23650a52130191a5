"""Data sets by name. To add one: its settings in `config.data`, a module and a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from perception_training.config.data import SourceConfig
from perception_training.config.labels import LabelsConfig
from perception_training.data.readers.base import Kept, Source
from perception_training.data.readers.camvid import CamVid
from perception_training.data.readers.idd import Idd
from perception_training.data.readers.shapes import Shapes
from perception_training.data.readers.video import Video

READERS: Mapping[str, Callable[[Any, LabelsConfig, Path], Source]] = {
    'camvid': CamVid,
    'idd': Idd,
    'shapes': Shapes,
    'video': Video,
}

__all__ = ['READERS', 'Kept', 'Source', 'open_source']


def open_source(config: SourceConfig, labels: LabelsConfig, root: Path) -> Source:
    """
    Open a set, its images in memory where `cache` asks for it.

    :param root: the folder with the data sets.
    :raises DataError: it is missing, or does not fit the class lists.
    """
    source = READERS[config.reader](config, labels, root)
    return Kept.all_of(source) if config.cache else source
