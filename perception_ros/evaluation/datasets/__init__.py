"""Labelled data, named on the command line as KIND:PATH[@SPLIT]."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from perception_ros.bags import need_library
from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets.base import (
    BoxDataset,
    Dataset,
    drive_of,
    MaskDataset,
    TrueBoxes,
)
from perception_ros.evaluation.datasets.camvid import read_camvid
from perception_ros.evaluation.datasets.coco import read_coco
from perception_ros.evaluation.datasets.kitti import read_kitti
from perception_ros.evaluation.datasets.yolo import read_yolo

__all__ = [
    'KINDS', 'BoxDataset', 'Dataset', 'MaskDataset', 'TrueBoxes', 'drive_of', 'open_dataset',
]

Reader = Callable[[Path, str, Sequence[str] | None], Dataset]


def _read_bag(path: Path, split: str, labels: Sequence[str] | None) -> Dataset:
    need_library()
    from perception_ros.evaluation.datasets.bag import read_bag

    return read_bag(path, split, labels)


KINDS: Mapping[str, Reader] = {
    'yolo': read_yolo, 'camvid': read_camvid, 'coco': read_coco, 'kitti': read_kitti,
    'bag': _read_bag,
}
"""How labels are stored -> who reads them."""


def open_dataset(
    reference: str, labels: Sequence[str] | None = None, split: str = ''
) -> Dataset:
    """Return labelled data; only file names and label files are read here, no images.

    :param reference: `KIND:PATH[@SPLIT]`. SPLIT is a folder of that name inside, or a text file
        with one drive a line: of these alone the images are taken (`drive_of`).
    :param labels: class names in the order of the ids, for YOLO text that does not name them.
    :param split: SPLIT where the reference has none.
    :raises DatasetError: there are none, or they are damaged.
    """
    kind, colon, rest = reference.partition(':')
    if not colon or kind not in KINDS or not rest:
        raise DatasetError(
            f'dataset {reference!r}: expected KIND:PATH or KIND:PATH@SPLIT with a kind of '
            f'{", ".join(KINDS)}'
        )
    path, own_split = _parts(rest)
    split = own_split or split
    if not path.exists():
        raise DatasetError(f'dataset {reference!r}: there is no {path}')
    if split and Path(split).is_file():
        dataset = KINDS[kind](path, '', labels).of_drives(_drives(Path(split)))
    else:
        dataset = KINDS[kind](path, split, labels)
    return replace(dataset, title=f'{kind}:{path}' + (f'@{split}' if split else ''))


def _parts(text: str) -> tuple[Path, str]:
    if Path(text).exists() or '@' not in text:
        return Path(text), ''
    path, _, split = text.rpartition('@')
    return Path(path), split


def _drives(path: Path) -> frozenset[str]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f'{path}: expected a text file with one drive a line; {error}'
        ) from error
    drives = frozenset(line.strip() for line in lines if line.strip())
    if not drives:
        raise DatasetError(f'{path}: expected one drive a line, got none')
    return drives
