"""Boxes and outlines in a COCO JSON file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.boxes import library
from perception_ros.evaluation.datasets.base import BoxDataset, Rle, Size, TrueBoxes
from perception_ros.evaluation.datasets.places import JsonEntry, JsonFile


class CocoObject(NamedTuple):
    """One annotation."""

    where: JsonEntry
    """File, line and number of the entry."""
    box: tuple[float, float, float, float]
    """(x1, y1, x2, y2) in pixels."""
    label: int
    """Index into the file's classes."""
    crowd: bool
    """Many objects that are neither to be found nor wrong."""
    outline: Any
    """Polygons or run lengths as the file has them; None where it has none."""


@dataclass(frozen=True)
class CocoFile:
    """A file, its annotations sorted by image and not yet looked into."""

    path: Path
    classes: tuple[str, ...]
    images: Mapping[int, Path]
    """Id -> file, which may be missing."""
    _json: JsonFile
    _ids: Mapping[int, int]
    _entries: Mapping[int, Sequence[tuple[int, Mapping[str, Any]]]]

    def objects(
        self, image: int, report: Callable[[DatasetError], None]
    ) -> list[CocoObject]:
        """Return the objects of an image.

        :param report: is told of each entry that is wrong, and may raise.
        """
        found = []
        for number, entry in self._entries.get(image, ()):
            where = self._json.entry('annotations', number)
            try:
                x, y, width, height = (float(value) for value in entry['bbox'])
                if not np.isfinite((x, y, width, height)).all():
                    raise ValueError(f'bbox {entry["bbox"]}')
                category = entry['category_id']
                if category not in self._ids:
                    raise ValueError(f'category_id {category!r} is not in categories')
                label, crowd = self._ids[category], bool(entry.get('iscrowd', 0))
            except (KeyError, TypeError, ValueError) as error:
                report(DatasetError(
                    f'{where}: expected bbox and category_id as COCO has them; '
                    f'{type(error).__name__}: {error}'
                ))
                continue
            box = (x, y, x + width, y + height)
            found.append(CocoObject(where, box, label, crowd, entry.get('segmentation')))
        return found


def load_coco(path: Path, folders: Sequence[Path]) -> CocoFile:
    """Return a file's content.

    :param folders: where its images may lie.
    :raises DatasetError: it is no such file, or an annotation is of no image.
    """
    file = JsonFile(path)
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        ids = {int(item['id']): i for i, item in enumerate(content['categories'])}
        classes = tuple(str(item['name']) for item in content['categories'])
        images = {int(item['id']): _find(folders, str(item['file_name']))
                  for item in content['images']}
        entries: dict[int, list[tuple[int, Mapping[str, Any]]]] = {key: [] for key in images}
        lost = []
        for number, item in enumerate(content['annotations']):
            if item['image_id'] in entries:
                entries[item['image_id']].append((number, item))
            else:
                lost.append(number)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f'{path}: expected a readable COCO JSON file; {error}') from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{path}: expected images, categories and annotations with bbox as COCO has them; '
            f'{type(error).__name__}: {error}'
        ) from error
    if not images:
        raise DatasetError(f'{path}: expected images, got none')
    if lost:
        raise DatasetError(
            f'{file.entry("annotations", lost[0])}: expected an image_id of images, got '
            f'{content["annotations"][lost[0]]["image_id"]!r}; {len(lost)} such annotations'
        )
    return CocoFile(path, classes, images, file, ids, entries)


def read_coco(path: Path, split: str, labels: Sequence[str] | None) -> BoxDataset:
    """Return the data of a file whose images lie beside it, in `images`, or one folder up.

    :param split: a folder of images beside the file or beside its folder.
    :param labels: not used, such a file names its classes itself.
    :raises DatasetError: it is no such file, or an image is missing.
    """
    roots = [path.parent, path.parent.parent]
    folders = [root / split for root in roots] if split else [
        *roots, *(root / 'images' for root in roots)]
    content = load_coco(path, folders)
    for file in content.images.values():
        if not file.is_file():
            raise DatasetError(
                f'{path}: image {file.name} not found in '
                f'{", ".join(str(folder) for folder in folders)}'
            )
    return coco_data(content)


def coco_data(content: CocoFile) -> BoxDataset:
    """Return what a file says of its images, whether or not they are there.

    :raises DatasetError: an annotation is damaged.
    """
    truths = {file: content.objects(key, _refuse) for key, file in content.images.items()}

    def truth(image: Path, size: Size) -> TrueBoxes:
        things = truths[image]
        return TrueBoxes(
            np.array([thing.box for thing in things], np.float64).reshape(-1, 4),
            np.array([thing.label for thing in things], np.int64),
            np.array([thing.crowd for thing in things], np.bool_),
        )

    def outlines(image: Path, size: Size) -> list[Rle]:
        return [compressed(thing.outline, size, thing.where) for thing in truths[image]]

    whole = all(thing.outline for things in truths.values() for thing in things)
    return BoxDataset(str(content.path), content.classes, tuple(sorted(truths)), truth,
                      outlines if whole else None)


def compressed(outline: Any, size: Size, where: JsonEntry) -> Rle:
    """Compress polygons, or run lengths as a list; what is compressed stays.

    :param where: file, line and number, for the error.
    :raises DatasetError: it is neither, or of an image of another size.
    """
    masks, expected = library().mask, [size[1], size[0]]
    try:
        if isinstance(outline, list):
            # The library takes whatever comes.
            if any(len(p) < 6 or len(p) % 2 or not np.isfinite(p).all() for p in outline):
                raise ValueError('a polygon with fewer than three points, or a part of one')
            return dict(masks.merge(masks.frPyObjects(outline, *expected)))
        if list(outline['size']) != expected:
            raise ValueError(f'run lengths of size {outline["size"]} for an image of {expected}')
        packed = outline
        if isinstance(outline['counts'], list):
            packed = masks.frPyObjects(outline, *expected)
        # Measuring would wait for ever on run lengths that make no whole image; this refuses them.
        masks.decode(packed)
        return dict(packed)
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{where}: expected segmentation as COCO has it: polygons [[x, y, ...], ...] or run '
            f'lengths with size and counts; {type(error).__name__}: {error}'
        ) from error


def _refuse(error: DatasetError) -> None:
    raise error


def _find(folders: Sequence[Path], name: str) -> Path:
    return next((f / name for f in folders if (f / name).is_file()), folders[0] / name)
