"""Windows, mirror images and mosaics: pixels, boxes, outlines and label maps move together."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_training.data.sample import Sample, UNKNOWN, UNKNOWN_BOX

PAD = 114
"""Grey around an image, as the runtime's letterbox has it."""
LEAST_SIDE_PX = 2
LEAST_SHARE = 1 / 3
"""Share of a box's area that must be in view for it to be that box."""
Window = tuple[int, int, int, int]
"""Left, top, width and height in source pixels; may reach beyond the image."""


def cut(sample: Sample, window: Window, width: int, height: int) -> Sample:
    """
    Scale a window to `width` x `height`.

    What lies outside of the image becomes grey and unknown. Boxes are clipped; one that keeps
    under a third of its area becomes an unknown region, and under 2 px it is dropped.
    """
    place = _Placement(sample.size, window, (width, height))
    image = np.full((height, width, 3), PAD, np.uint8)
    place.paste(image, sample.image,
                cv2.INTER_AREA if place.scale[0] < 1 else cv2.INTER_LINEAR)
    semantic = {}
    for head, ids in sample.semantic.items():
        semantic[head] = np.full((height, width), UNKNOWN, np.uint8)
        place.paste(semantic[head], ids, cv2.INTER_NEAREST)
    whole = (sample.boxes - np.array(window[:2] * 2, np.float32)) * np.array(
        place.scale * 2, np.float32)
    boxes = np.clip(whole, 0, np.array([width, height] * 2, np.float32)).astype(np.float32)
    labels = np.where(area(boxes) < LEAST_SHARE * area(whole), UNKNOWN_BOX, sample.labels)
    visible = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=np.inf) >= LEAST_SIDE_PX
    masks = None
    if sample.masks is not None:
        masks = np.zeros((int(visible.sum()), height, width), np.uint8)
        for cells, mask in zip(masks, sample.masks[visible], strict=True):
            place.paste(cells, mask, cv2.INTER_NEAREST)
    return replace(sample, image=image, boxes=boxes[visible], labels=labels[visible],
                   masks=masks, semantic=semantic)


class _Placement:
    """Where the part of an image that a window shows comes to lie."""

    def __init__(self, source: tuple[int, int], window: Window, size: tuple[int, int]) -> None:
        left, top, width, height = window
        self.scale = (size[0] / width, size[1] / height)
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + width, source[0]), min(top + height, source[1])
        self._from = (slice(y0, y1), slice(x0, x1))
        u0, v0 = round((x0 - left) * self.scale[0]), round((y0 - top) * self.scale[1])
        u1, v1 = round((x1 - left) * self.scale[0]), round((y1 - top) * self.scale[1])
        self._to = (slice(v0, v1), slice(u0, u1))
        self._size = (u1 - u0, v1 - v0)

    def paste(self, canvas: NDArray[np.uint8], source: NDArray[np.uint8],
              interpolation: int) -> None:
        if min(self._size) > 0:
            canvas[self._to] = cv2.resize(
                source[self._from], self._size, interpolation=interpolation)


def shrink(sample: Sample, max_side: int) -> Sample:
    """Scale a sample down until its longer side is `max_side`; a smaller one stays as it is."""
    width, height = sample.size
    scale = max_side / max(width, height)
    if scale >= 1:
        return sample
    return cut(sample, (0, 0, width, height), round(width * scale), round(height * scale))


def mirror(sample: Sample) -> Sample:
    """Mirror left and right, all labels alike."""
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = sample.image.shape[1] - boxes[:, [2, 0]]
    return replace(
        sample, image=np.ascontiguousarray(sample.image[:, ::-1]), boxes=boxes,
        masks=None if sample.masks is None else np.ascontiguousarray(sample.masks[..., ::-1]),
        semantic={h: np.ascontiguousarray(ids[:, ::-1]) for h, ids in sample.semantic.items()})


def mosaic(views: Sequence[Sample]) -> Sample:
    """
    Put four views of one size into the quarters of one of that size.

    Only what all four label is labelled.
    """
    first = views[0]
    width, height = first.size
    half_w, half_h = width // 2, height // 2
    image = np.empty_like(first.image)
    heads = set.intersection(*(set(view.semantic) for view in views))
    semantic = {head: np.empty((height, width), np.uint8) for head in sorted(heads)}
    outlined = all(view.masks is not None for view in views)
    boxes, labels, masks = [], [], []
    for i, view in enumerate(views):
        x, y = i % 2 * half_w, i // 2 * half_h
        w, h = width - half_w if x else half_w, height - half_h if y else half_h
        small = cut(view, (0, 0, width, height), w, h)
        image[y:y + h, x:x + w] = small.image
        for head, ids in semantic.items():
            ids[y:y + h, x:x + w] = small.semantic[head]
        boxes.append(small.boxes + np.array([x, y, x, y], np.float32))
        labels.append(small.labels)
        if outlined and small.masks is not None:
            whole = np.zeros((len(small.masks), height, width), np.uint8)
            whole[:, y:y + h, x:x + w] = small.masks
            masks.append(whole)
    return replace(
        first, image=image, boxes=np.concatenate(boxes), labels=np.concatenate(labels),
        labelled=np.logical_and.reduce([view.labelled for view in views]),
        masks=np.concatenate(masks) if outlined else None, semantic=semantic)


def area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Area of boxes `[N, 4]`: `[N]`."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
