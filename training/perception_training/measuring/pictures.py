"""Truth and answer, side by side, in the colours that a bundle will have."""

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles.labels import class_infos
from perception_ros.core.overlay import (
    draw_detections,
    draw_instances,
    draw_legend,
    draw_semantic,
)
from perception_ros.core.types import Detections, InstanceMasks, SemanticMask
from perception_training.config import Config
from perception_training.data.readers import read_source
from perception_training.data.sample import Sample
from perception_training.measuring.evaluate import spread
from perception_training.measuring.predict import Prediction, Predictor
from perception_training.models import BOXES

Pixels = NDArray[np.uint8]
OPACITY = 0.55
GAP_PX = 6


def truth_and_answer(config: Config, sample: Sample, guess: Prediction, heads: Sequence[str],
                     legend: bool = False, width: int = 480) -> Pixels:
    """
    Draw what is true on the left and what was answered on the right, uint8 `[H, W, 3]` RGB.

    :param heads: what is drawn of what the image is labelled for.
    :param legend: whether the truth names the classes of its label maps in a corner.
    :param width: px of either side; a small image is enlarged to it, so that names can be read.
    """
    drawn = [head for head in heads if head in sample.semantic]
    true = Drawing({head: sample.semantic[head] for head in drawn})
    found = Drawing({head: guess.semantic[head] for head in drawn})
    if BOXES in heads and sample.labelled.any():
        names = config.labels.boxes
        known, shown = sample.labels >= 0, guess.scores >= config.bundle.score_threshold
        shown &= sample.labelled[guess.labels]
        true.boxes = Detections(sample.boxes[known], np.ones(int(known.sum()), np.float32),
                                sample.labels[known].astype(np.int32), names)
        found.boxes = Detections(guess.boxes[shown], guess.scores[shown], guess.labels[shown],
                                 names)
        if sample.masks is not None and guess.masks is not None:
            true.instances = _indices(sample.masks[known])
            found.instances = _indices(guess.masks[shown])
    left = true.on(sample.image, config, width, legend, scores=False)
    right = found.on(sample.image, config, width, legend=False, scores=True)
    gap = np.full((left.shape[0], GAP_PX, 3), 255, np.uint8)
    return np.hstack([left, gap, right])


class Drawing:
    """What one side says."""

    def __init__(self, semantic: Mapping[str, Pixels]) -> None:
        self.semantic = semantic
        self.boxes: Detections | None = None
        self.instances: InstanceMasks | None = None

    def on(self, image: Pixels, config: Config, width: int, legend: bool,
           scores: bool) -> Pixels:
        """Draw it on an image that is scaled to a width in px."""
        scale = width / image.shape[1]
        size = (width, max(round(image.shape[0] * scale), 1))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        picture = np.asarray(cv2.resize(image, size, interpolation=way), np.uint8)
        masks = {head: SemanticMask(ids, config.labels.semantic[head])
                 for head, ids in self.semantic.items()}
        colours = {head: colours_of(mask.class_names) for head, mask in masks.items()}
        for head, mask in masks.items():
            draw_semantic(picture, mask, colours[head], OPACITY)
        if self.boxes is not None:
            own = colours_of(self.boxes.class_names)
            if self.instances is not None:
                draw_instances(picture, self.instances, self.boxes, own, OPACITY)
            draw_detections(picture, self.boxes, own, scale, scores=scores)
        if legend:
            draw_legend(picture, masks, colours)
        return picture


def validation_pictures(config: Config, predict: Predictor, count: int = 2) -> dict[str, Pixels]:
    """Draw some images of each validation set, the same at every call; by their names."""
    drawn = {}
    for settings in config.data.val:
        source = read_source(settings, config.labels, config.data.root)
        for i in spread(len(source), count):
            sample = source[i]
            drawn[f'{source.name}/{sample.name}'] = truth_and_answer(
                config, sample, predict(sample.image), (BOXES, *config.labels.semantic),
                legend=True)
    return drawn


def _indices(masks: NDArray[Any]) -> InstanceMasks:
    """Put masks `[N, H, W]` into one image; where two of them overlap the first is on top."""
    indices = np.zeros(masks.shape[1:], np.uint16)
    for place in reversed(range(len(masks))):
        indices[masks[place] > 0] = place + 1
    return InstanceMasks(indices)


def colours_of(names: Sequence[str]) -> tuple[tuple[int, int, int], ...]:
    """Give red, green and blue of each class, as a bundle will have them."""
    return tuple(item.color for item in class_infos(names, len(names), 'labels'))
