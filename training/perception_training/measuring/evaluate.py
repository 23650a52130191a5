"""Measure everything that the validation sets label."""

from typing import Any

from perception_training.config import Config
from perception_training.data.readers import open_source, Source
from perception_training.measuring.predict import Predictor
from perception_training.measuring.scores import BoxScores, SemanticScores
from perception_training.models import BOXES

Metrics = dict[str, dict[str, Any]]
"""Set -> head -> numbers."""


def evaluate(config: Config, predict: Predictor) -> Metrics:
    """Measure on each of `config.data.val`, all unseen by training and by teachers."""
    sources = [open_source(s, config.labels, config.data.root) for s in config.data.val]
    return {source.name: measure(source, config, predict) for source in sources}


def measure(source: Source, config: Config, predict: Predictor) -> dict[str, Any]:
    """Measure each head that a set labels, in one pass over its images."""
    boxes = BoxScores(config.labels.boxes)
    maps = {head: SemanticScores(names) for head, names in config.labels.semantic.items()}
    for i in range(len(source)):
        sample = source[i]
        guess = predict(sample.image)
        if sample.labelled.any():
            boxes.add(sample, guess)
        for head, ids in sample.semantic.items():
            maps[head].add(ids, guess.semantic[head])
    found = {head: scorer.metrics() for head, scorer in maps.items() if len(scorer)}
    return {BOXES: boxes.metrics(), **found} if len(boxes) else found
