"""Drawn streets: data that every machine has, with boxes, outlines and label maps."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import ShapesConfig
from perception_training.data.classes import box_map, pixel_map
from perception_training.data.sample import Sample

BOXES = ('car', 'person')
SCENE = ('sky', 'road', 'car', 'person')
LEAST_AREA_PX = 12
_COLOURS = {'car': (210, 50, 45), 'person': (235, 205, 60)}


class Shapes:
    """Sky over road, cars as wide ellipses and people as tall ones, on noise."""

    def __init__(self, config: ShapesConfig, labels: LabelsConfig, root: Path) -> None:
        self.name = f'shapes {config.seed}'
        self._config = config
        self._boxes = box_map(self.name, BOXES, config, labels)
        self._scene = pixel_map(self.name, SCENE, config, labels, config.head)

    @property
    def names(self) -> tuple[str, ...]:
        """Seed and number of each image."""
        return tuple(f'shapes_{self._config.seed}_{i:05d}' for i in range(len(self)))

    def __len__(self) -> int:
        return self._config.count

    def __getitem__(self, index: int) -> Sample:
        config = self._config
        rng = np.random.default_rng([config.seed, index])
        width, height = config.width, config.height
        image, ids = _street(rng, width, height)
        kinds: list[int] = []
        masks: list[NDArray[np.uint8]] = []
        for _ in range(int(rng.integers(1, 4))):
            kind = int(rng.integers(2))
            w, h = (0.3, 0.2) if kind == 0 else (0.1, 0.35)
            scale = float(rng.uniform(0.6, 1.3))
            w, h = max(w * width * scale, 6), max(h * height * scale, 6)
            x = float(rng.uniform(0, width - w))
            y = float(rng.uniform(0.3 * height, height - h))
            mask = _ellipse(width, height, (x, y, x + w, y + h))
            image[mask] = np.add(_COLOURS[BOXES[kind]], rng.integers(-20, 21, 3))
            ids[mask] = SCENE.index(BOXES[kind])
            for other in masks:
                other[mask] = 0  # what was drawn before lies behind
            kinds.append(kind)
            masks.append(mask.astype(np.uint8))
        seen = [i for i, mask in enumerate(masks) if mask.sum() >= LEAST_AREA_PX]
        kinds, masks = [kinds[i] for i in seen], [masks[i] for i in seen]
        image = (image + rng.normal(0, 6, image.shape)).clip(0, 255).astype(np.uint8)
        semantic = {}
        if self._scene is not None:
            semantic[config.head] = self._scene.ids(ids, (), self.names[index])
        if self._boxes is None:
            return Sample(self.names[index], image, semantic=semantic)
        ours = [self._boxes.label(kind, self.names[index]) for kind in kinds]
        masks = [mask for mask, label in zip(masks, ours, strict=True) if label is not None]
        labels = [label for label in ours if label is not None]
        return Sample(
            self.names[index], image, _extents(masks), np.array(labels, np.int64),
            self._boxes.labelled, np.array(masks, np.uint8).reshape(-1, height, width), semantic)


def _street(rng: np.random.Generator, width: int,
            height: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    image = np.empty((height, width, 3))
    horizon = int(rng.uniform(0.35, 0.6) * height)
    image[:horizon] = np.add((110, 160, 230), rng.integers(-25, 26, 3))
    image[horizon:] = np.add((95, 95, 98), rng.integers(-20, 21, 3))
    ids = np.zeros((height, width), np.uint8)
    ids[horizon:] = SCENE.index('road')
    return image, ids


def _ellipse(width: int, height: int, box: tuple[float, float, float, float]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = box
    y, x = np.mgrid[:height, :width] + 0.5
    return ((x - (x0 + x1) / 2) / (x1 - x0) * 2) ** 2 + (
        (y - (y0 + y1) / 2) / (y1 - y0) * 2) ** 2 <= 1


def _extents(masks: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
    boxes = []
    for mask in masks:
        rows, columns = np.nonzero(mask)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return np.array(boxes, np.float32).reshape(-1, 4)
