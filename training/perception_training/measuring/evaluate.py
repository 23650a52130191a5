"""Measure everything that the validation sets label."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
import heapq
import time
from typing import Any

import numpy as np

from perception_training.config import Config
from perception_training.data.readers import open_source, Source
from perception_training.data.sample import Sample
from perception_training.measuring.predict import Prediction, Predictor
from perception_training.measuring.scores import (
    BoxScores,
    InstanceScores,
    SemanticScores,
    Verdict,
)
from perception_training.models import BOXES, MASKS

Metrics = dict[str, dict[str, Any]]
"""Set -> head, or the masks of its boxes -> numbers."""
Scores = BoxScores | InstanceScores | SemanticScores
Watch = Callable[[Sample, Mapping[str, Prediction]], None]
"""Sees each image and what every engine answers."""
WORST = 4
"""Images that are kept of each set and head."""


@dataclass(frozen=True)
class Case:
    """An image, what was answered, and what is wrong with it."""

    verdict: Verdict
    sample: Sample
    guess: Prediction


@dataclass
class SetScores:
    """One engine's answers to one set."""

    boxes: BoxScores
    masks: InstanceScores
    maps: dict[str, SemanticScores]
    of: int
    """Images that the set has."""
    seconds: list[float] = field(default_factory=list)
    """What each answer took, letterbox and all."""
    worst: dict[str, list[tuple[float, int, Case]]] = field(default_factory=dict)
    """Head -> heap of the costliest images."""
    first: Case | None = None
    """The first image, as an example that nobody chose."""

    @classmethod
    def begin(cls, config: Config, images: int) -> 'SetScores':
        """Begin with nothing."""
        return cls(BoxScores(config.labels.boxes, config.bundle.score_threshold),
                   InstanceScores(config.labels.boxes),
                   {head: SemanticScores(names)
                    for head, names in config.labels.semantic.items()}, images)

    def add(self, sample: Sample, guess: Prediction) -> None:
        """Measure each head that the image is labelled for."""
        verdicts = {}
        if sample.labelled.any():
            verdicts[BOXES] = self.boxes.add(sample, guess)
            if sample.masks is not None and guess.masks is not None:
                self.masks.add(sample, guess)
        for head, ids in sample.semantic.items():
            verdicts[head] = self.maps[head].add(ids, guess.semantic[head])
        if self.first is None:
            self.first = Case(Verdict(0.0, ''), sample, guess)
        for head, verdict in verdicts.items():
            kept = self.worst.setdefault(head, [])
            # Of equal ones the earlier image stays; cases themselves have no order.
            heapq.heappush(kept, (verdict.cost, -len(self.seconds), Case(verdict, sample, guess)))
            if len(kept) > WORST:
                heapq.heappop(kept)

    def _heads(self) -> Iterator[tuple[str, Scores]]:
        scorers: dict[str, Scores] = {BOXES: self.boxes, MASKS: self.masks, **self.maps}
        return ((head, scorer) for head, scorer in scorers.items() if len(scorer))

    def metrics(self) -> dict[str, Any]:
        """Head -> the numbers that logs and cards have."""
        return {head: scorer.metrics() for head, scorer in self._heads()}

    def details(self) -> dict[str, Any]:
        """Head -> everything, for the report."""
        return {head: scorer.details() for head, scorer in self._heads()}

    def cases(self) -> dict[str, list[Case]]:
        """Head -> its worst images, the worst first; perfect ones are none."""
        return {head: [case for cost, _, case in sorted(kept, key=lambda k: k[:2], reverse=True)
                       if cost > 0] for head, kept in self.worst.items()}


Evaluation = dict[str, SetScores]
"""Set -> one engine's answers to it."""


def evaluate(config: Config, predict: Predictor) -> Metrics:
    """Measure on each of `config.data.val`, all unseen by training and by teachers."""
    return metrics_of(evaluate_all(config, {'': predict})[''])


def metrics_of(evaluation: Evaluation) -> Metrics:
    """Give the numbers that logs and cards have."""
    return {name: scores.metrics() for name, scores in evaluation.items()}


def evaluate_all(config: Config, predictors: Mapping[str, Predictor], most: int | None = None,
                 watch: Watch | None = None) -> dict[str, Evaluation]:
    """
    Measure several engines on the same images, each of which is read once.

    :param most: images of a set that are measured, evenly spread; None: all.
    :returns: engine -> set -> scores.
    """
    found: dict[str, Evaluation] = {engine: {} for engine in predictors}
    for settings in config.data.val:
        source = open_source(settings, config.labels, config.data.root, config.cache_dir)
        for engine, scores in measure_all(source, config, predictors, most, watch).items():
            found[engine][source.name] = scores
    return found


def measure(source: Source, config: Config, predict: Predictor) -> dict[str, Any]:
    """Measure each head that a set labels, in one pass over its images."""
    return measure_all(source, config, {'': predict})[''].metrics()


def measure_all(source: Source, config: Config, predictors: Mapping[str, Predictor],
                most: int | None = None, watch: Watch | None = None) -> dict[str, SetScores]:
    """Do the same for several engines and a part of the images; see `evaluate_all`."""
    scores = {engine: SetScores.begin(config, len(source)) for engine in predictors}
    for i in spread(len(source), most):
        sample = source[i]
        guesses = {}
        for engine, predict in predictors.items():
            before = time.perf_counter()
            guesses[engine] = predict(sample.image)
            scores[engine].seconds.append(time.perf_counter() - before)
            scores[engine].add(sample, guesses[engine])
        if watch is not None:
            watch(sample, guesses)
    return scores


def spread(count: int, most: int | None) -> Sequence[int]:
    """Give which of so many images are measured: all, or some that are evenly spread."""
    if most is None or most >= count:
        return range(count)
    places: list[int] = np.linspace(0, count - 1, most).round().astype(int).tolist()
    return places
