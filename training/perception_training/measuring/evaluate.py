"""Measure everything that the validation sets label."""

from typing import Any

from perception_training.config import Config
from perception_training.data.readers import open_source, Source
from perception_training.measuring.predict import Predictor
from perception_training.measuring.scores import BoxScores, InstanceScores, SemanticScores
from perception_training.models import BOXES, MASKS

Metrics = dict[str, dict[str, Any]]
"""Set -> head, or the masks of its boxes -> numbers."""


def evaluate(config: Config, predict: Predictor) -> Metrics:
    """Measure on each of `config.data.val`, all unseen by training and by teachers."""
    sources = [open_source(s, config.labels, config.data.root, config.cache_dir)
               for s in config.data.val]
    return {source.name: measure(source, config, predict) for source in sources}


def measure(source: Source, config: Config, predict: Predictor) -> dict[str, Any]:
    """Measure each head that a set labels, in one pass over its images."""
    boxes, masks = BoxScores(config.labels.boxes), InstanceScores(config.labels.boxes)
    maps = {head: SemanticScores(names) for head, names in config.labels.semantic.items()}
    for i in range(len(source)):
        sample = source[i]
        guess = predict(sample.image)
        if sample.labelled.any():
            boxes.add(sample, guess)
            if sample.masks is not None and guess.masks is not None:
                masks.add(sample, guess)
        for head, ids in sample.semantic.items():
            maps[head].add(ids, guess.semantic[head])
    scorers = {BOXES: boxes, MASKS: masks, **maps}
    return {head: scorer.metrics() for head, scorer in scorers.items() if len(scorer)}
