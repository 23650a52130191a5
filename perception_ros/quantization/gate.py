"""Whether a bundle in lower precision is still good enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from perception_ros.benchmarks.report import Difference
from perception_ros.bundles.manifest import Manifest
from perception_ros.evaluation import Accuracy, Dataset


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far the answers may change on images without labels."""

    boxes: float
    """Boxes lost or gained, as a share of the boxes that were there."""
    masks: float
    """Cells of masks that change, 0..1."""


AGREEMENTS: Mapping[str, Agreement] = {
    'fp16': Agreement(boxes=0.02, masks=0.005),
    'int8': Agreement(boxes=0.10, masks=0.05),
}
"""Precision -> what is allowed where no labelled data are given."""


@dataclass(frozen=True, slots=True)
class Gate:
    """What a bundle has to pass."""

    datasets: tuple[Dataset, ...] = ()
    max_drop: float = 0.01
    """Of mAP50 and of mIoU, 0..1, on each data set."""

    def problems(
        self, before: Sequence[Accuracy], after: Sequence[Accuracy], changes: Difference,
        manifest: Manifest,
    ) -> tuple[str, ...]:
        """Return what is not good enough, in sentences; nothing: it passes.

        Answers of a kind that no data set measures must agree with those before.

        :param changes: between the answers before and after on the held-out images.
        :param manifest: of the bundle in lower precision.
        """
        return (*self._drops(before, after), *self._changes(before, changes, manifest))

    def _drops(
        self, before: Sequence[Accuracy], after: Sequence[Accuracy]
    ) -> Iterator[str]:
        for old, new in zip(before, after, strict=True):
            for name in ('map50', 'miou'):
                drop = (old.figures.get(name) or 0.0) - (new.figures.get(name) or 0.0)
                if drop > self.max_drop:
                    yield (
                        f'{name} on {old.dataset}: expected a drop of at most {self.max_drop:.3f}'
                        f', got {drop:.3f}'
                    )

    def _changes(
        self, before: Sequence[Accuracy], changes: Difference, manifest: Manifest
    ) -> Iterator[str]:
        if manifest.detection and not any(item.boxes for item in before):
            yield from boxes_changed(changes, manifest.precision)
        if set(manifest.semantic) - {head for item in before for head in item.masks}:
            yield from masks_changed(changes, manifest.precision)


def boxes_changed(changes: Difference, precision: str) -> Iterator[str]:
    """Say so if more boxes are lost or gained than is allowed in a precision."""
    allowed, changed = AGREEMENTS[precision].boxes, changes.lost + changes.gained
    if changed > allowed * max(changes.boxes, 1):
        yield (
            f'boxes: expected at most {allowed:.0%} lost or gained, got {changed} of '
            f'{changes.boxes}'
        )


def masks_changed(changes: Difference, precision: str) -> Iterator[str]:
    """Say so if more cells of masks change than is allowed in a precision."""
    allowed, share = AGREEMENTS[precision].masks, changes.mask_share or 0.0
    if share > allowed:
        yield f'masks: expected at most {allowed:.1%} of the cells to change, got {share:.1%}'
