"""Answers of a model as COCO has labels."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros import __version__
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.instances import whole_masks
from perception_ros.core.types import Result
from perception_ros.evaluation.boxes import library


def categories(manifest: Manifest, classes: Collection[str]) -> list[dict[str, Any]]:
    """Return the classes, each under its place in the bundle counted from 1.

    :param classes: names of those that are wanted; all if empty.
    """
    known = manifest.detection.classes if manifest.detection else ()
    return [
        {'id': number, 'name': item.name, 'supercategory': ''}
        for number, item in enumerate(known, 1) if not classes or item.name in classes
    ]


def objects(result: Result, wanted: Collection[int]) -> list[dict[str, Any]]:
    """Return what was found in a picture, best first, without ids.

    :param wanted: ids of categories.
    """
    found = result.detections
    if found is None:
        return []
    entries = []
    for index, (box, score, label) in enumerate(
        zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    ):
        if label + 1 not in wanted:
            continue
        x1, y1, x2, y2 = (round(side, 3) for side in box)
        width, height = round(x2 - x1, 3), round(y2 - y1, 3)
        entry = {
            'category_id': label + 1, 'bbox': [x1, y1, width, height],
            'area': round(width * height, 3), 'iscrowd': 0, 'score': round(score, 5),
        }
        if masks := result.instances:
            size = result.frame.image.width, result.frame.image.height
            one = slice(index, index + 1)
            entry |= _outline(whole_masks(masks.cells[one], masks.boxes[one], size)[0])
        entries.append(entry)
    return entries


def about(
    manifest: Manifest, engine: Mapping[str, str], threshold: float | None
) -> dict[str, Any]:
    """Return who has labelled, and on which terms; nothing of the hour or the machine's name.

    :param engine: backend, device and precision.
    """
    own = manifest.detection.score_threshold if manifest.detection else None
    return {
        'info': {
            'description': f'labelled by {manifest.name}, seen by nobody',
            'teacher': {
                'name': manifest.name,
                'sha256': manifest.graph.sha256,
                'licence': manifest.licence.model_dump(mode='json'),
                **engine,
            },
            'score_threshold': own if threshold is None else threshold,
            'semantic': {
                head: [item.name for item in info.classes]
                for head, info in manifest.semantic.items()
            },
            'perception_ros': __version__,
        },
        'licenses': [{'id': 1, 'name': manifest.licence.weights, 'url': ''}],
    }


def _outline(mask: NDArray[np.bool_]) -> Mapping[str, Any]:
    runs = library().mask
    packed = runs.encode(np.asfortranarray(mask.astype(np.uint8)))
    counts = packed['counts']
    text = counts.decode('ascii') if isinstance(counts, bytes) else counts
    size = [int(side) for side in packed['size']]
    return {'segmentation': {'size': size, 'counts': text}, 'area': float(mask.sum())}
