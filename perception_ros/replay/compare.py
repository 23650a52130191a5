"""Two runs side by side: which detections appeared, vanished, moved or got another class.

In each frame boxes of one class are paired first, those that overlap most before others, then what
is left of any classes. A pair overlaps by at least `PAIR_IOU`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from perception_ros.core.boxes import match, overlaps
from perception_ros.core.errors import ReplayError
from perception_ros.replay.answers import Answer, answers, Key
from perception_ros.replay.limits import look_up
from perception_ros.replay.parts import RunFolder, runs_in
from perception_ros.replay.summary import read_summary

PAIR_IOU = 0.5
"""Boxes that overlap less are not of the same thing."""

SAME_IOU = 0.9
"""A pair that overlaps less has moved."""

WORST = 20
"""Frames that are named in a report."""

FIGURES = ('mAP50', 'mAP', 'mIoU', 'latency.infer.p50_ms', 'latency.infer.p99_ms')
"""What is compared of the summaries; latencies say something where the machine is the same."""

CHANGES = ('appeared', 'vanished', 'moved', 'relabelled')


@dataclass(slots=True)
class ModelComparison:
    """What differs between two runs in one model's detections."""

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    """By class, of the first run where both have one: 'same' and `CHANGES`."""
    relabelled: Counter[tuple[str, str]] = field(default_factory=Counter)
    frames: int = 0
    """That both runs have."""
    only_first: int = 0
    only_second: int = 0
    """Frames that the other run does not have."""
    score_difference: float = 0.0
    """Greatest of a pair of one class."""
    changed: dict[Key, int] = field(default_factory=dict)
    """Changes by frame."""

    @property
    def is_equal(self) -> bool:
        """Whether nothing has changed but scores."""
        return not self.changed and not self.only_first and not self.only_second

    def as_json(self) -> dict[str, Any]:
        """Return it, ready for JSON; the frames that changed most come first."""
        worst = sorted(self.changed.items(), key=lambda item: (-item[1], item[0]))[:WORST]
        return {
            'frames': self.frames,
            'only_first': self.only_first,
            'only_second': self.only_second,
            'classes': {
                name: {kind: counts[kind] for kind in ('same', *CHANGES)}
                for name, counts in sorted(self.counts.items())
            },
            'relabelled': [
                {'from': old, 'to': new, 'n': count}
                for (old, new), count in self.relabelled.most_common()
            ],
            'score_difference': self.score_difference,
            'worst_frames': [
                {'camera': camera, 'stamp_ns': stamp_ns, 'changes': count}
                for (camera, stamp_ns), count in worst
            ],
        }

    def add(self, first: Answer, second: Answer) -> None:
        """Compare a frame."""
        self.frames += 1
        for change in changes(first, second):
            a, b = change.first, change.second
            if a is not None and b is not None:
                if change.kind == 'relabelled':
                    self.relabelled[first.classes[a], second.classes[b]] += 1
                else:
                    difference = abs(float(first.scores[a] - second.scores[b]))
                    self.score_difference = max(self.score_difference, difference)
            name = second.classes[b] if a is None and b is not None else first.classes[a or 0]
            self._count(first.key, name, change.kind)

    def _count(self, key: Key, name: str, kind: str) -> None:
        self.counts.setdefault(name, Counter())[kind] += 1
        if kind != 'same':
            self.changed[key] = self.changed.get(key, 0) + 1


class Change(NamedTuple):
    """What became of a detection: its places in both answers, None where it has none."""

    kind: str
    """'same', or one of `CHANGES`."""
    first: int | None
    second: int | None


def changes(first: Answer, second: Answer) -> list[Change]:
    """Pair the detections of two answers to one frame, as the head of this module says."""
    shares = overlaps(first.boxes, second.boxes)
    same = np.array(
        [[a == b for b in second.classes] for a in first.classes], np.bool_
    ).reshape(shares.shape)
    pairs = match(np.where(same, shares, -1.0), PAIR_IOU)
    left_a = [i for i in range(len(first.classes)) if i not in {a for a, _ in pairs}]
    left_b = [i for i in range(len(second.classes)) if i not in {b for _, b in pairs}]
    others = [
        (left_a[a], left_b[b]) for a, b in match(shares[np.ix_(left_a, left_b)], PAIR_IOU)
    ]
    gone = sorted(set(left_a) - {a for a, _ in others})
    new = sorted(set(left_b) - {b for _, b in others})
    return [
        *(Change('moved' if shares[a, b] < SAME_IOU else 'same', a, b) for a, b in pairs),
        *(Change('relabelled', a, b) for a, b in others),
        *(Change('vanished', a, None) for a in gone),
        *(Change('appeared', None, b) for b in new),
    ]


def figures(
    first: Mapping[str, Any], second: Mapping[str, Any]
) -> dict[str, tuple[float, float]]:
    """Return what two summaries both have of accuracy and latency, by key."""
    found = {}
    for key in FIGURES:
        old, new = (next(iter(look_up(key, summary)), None) for summary in (first, second))
        if old is not None and new is not None:
            found[key] = old, new
    return found


def read_baseline(folder: Path, run: Path, role: str) -> dict[str, Any]:
    """Return the summary of an earlier run, with which another is compared.

    :param role: what the folder of the other is called.
    :raises ReplayError: it is the same folder, or that of no replay.
    """
    if folder.resolve() == run.resolve():
        raise ReplayError(f'{folder} is the {role} too: name the folder of another replay')
    return read_summary(folder)


def against(baseline: Path, folder: Path, summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has changed since another run, for the summary of this one.

    :param folder: of this run, and `summary` what is known of it.
    :raises ReplayError: one is no finished run.
    """
    both = figures(read_summary(baseline), summary)
    models = compare(baseline, folder)
    counts = Counter[str]()
    for item in models.values():
        for of_class in item.counts.values():
            counts += of_class
    return {
        'baseline': baseline.name,
        **{kind: counts[kind] for kind in CHANGES},
        'difference': {key: new - old for key, (old, new) in both.items()},
        'models': {name: item.as_json() for name, item in models.items()},
    }


def compare(first: Path, second: Path) -> dict[str, ModelComparison]:
    """Compare the detections of two finished runs, by the models that both have.

    Of runs of several bags those of the same names are compared.

    :raises ReplayError: one is no finished run, or no bag or model is in both.
    """
    runs = [runs_in(folder) for folder in (first, second)]
    pairs = [(runs[0][name], runs[1][name]) for name in runs[0] if name in runs[1]]
    if not pairs:
        raise ReplayError(
            f'{first} and {second} have no bag in common: expected one of '
            f'{", ".join(filter(None, runs[0])) or "one bag alone"} in the second, got '
            f'{", ".join(filter(None, runs[1])) or "one bag alone"}'
        )
    models = [tuple(RunFolder(folder).read_about()['bundles']) for folder in pairs[0]]
    common = [name for name in models[0] if name in models[1]]
    if not common:
        raise ReplayError(
            f'{first} and {second} have no model in common: expected one of '
            f'{", ".join(models[0])} in the second, got {", ".join(models[1])}'
        )
    return {name: _compare(pairs, name) for name in common}


def _compare(pairs: Sequence[tuple[Path, Path]], model: str) -> ModelComparison:
    found = ModelComparison()
    for first, second in pairs:
        before = {answer.key: answer for answer in answers(first, model)}
        for answer in answers(second, model):
            if (partner := before.pop(answer.key, None)) is None:
                found.only_second += 1
            else:
                found.add(partner, answer)
        found.only_first += len(before)
    return found
