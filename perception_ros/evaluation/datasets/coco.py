"""Boxes in a COCO JSON file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from typing import Any

import numpy as np

from perception_ros.core.errors import DatasetError
from perception_ros.evaluation.datasets.base import BoxDataset, Size, TrueBoxes


def read_coco(path: Path, split: str, labels: Sequence[str] | None) -> BoxDataset:
    """Return the data of a file whose images lie beside it, in `images`, or one folder up.

    :param split: a folder of images beside the file or beside its folder.
    :param labels: not used, such a file names its classes itself.
    :raises DatasetError: it is no such file, or an image is missing.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        ids = {int(item['id']): i for i, item in enumerate(content['categories'])}
        classes = tuple(str(item['name']) for item in content['categories'])
        files = {int(item['id']): _find(path, split, item) for item in content['images']}
        truths: dict[Path, list[tuple[float, ...]]] = {file: [] for file in files.values()}
        for item in content['annotations']:
            x, y, width, height = (float(value) for value in item['bbox'])
            row = (x, y, x + width, y + height, ids[item['category_id']], item.get('iscrowd', 0))
            truths[files[item['image_id']]].append(row)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DatasetError(f'{path}: expected a readable COCO JSON file; {error}') from error
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f'{path}: expected images, categories and annotations with bbox as COCO has them; '
            f'{type(error).__name__}: {error}'
        ) from error
    if not truths:
        raise DatasetError(f'{path}: expected images, got none')

    def truth(image: Path, size: Size) -> TrueBoxes:
        table = np.array(truths[image], np.float64).reshape(-1, 6)
        return TrueBoxes(table[:, :4], table[:, 4].astype(np.int64), table[:, 5] > 0)

    return BoxDataset(str(path), classes, tuple(sorted(truths)), truth)


def _find(path: Path, split: str, item: Mapping[str, Any]) -> Path:
    name = item['file_name']
    roots = [path.parent, path.parent.parent]
    folders = [*roots, *(root / 'images' for root in roots)]
    if split:
        folders = [root / split for root in roots]
    for folder in folders:
        if (folder / name).is_file():
            return folder / str(name)
    raise DatasetError(
        f'{path}: image {name} not found in {", ".join(str(folder) for folder in folders)}'
    )
