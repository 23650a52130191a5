"""The proof at the end of an import: the bundle against the original, at several batch sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles import recipe
from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.bundles.families import Plan
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.options import Tolerance
from perception_ros.bundles.session import Answer, Session
from perception_ros.core.errors import ImportModelError

BATCH_SIZES = (1, 2, 5)
Images = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: an output at one batch size, over all images."""

    output: str
    batch: int
    compared: str
    """What was compared, in how many images."""
    difference: str
    """The greatest difference, in words."""
    allowed: str
    ok: bool


@dataclass(frozen=True, slots=True)
class Proof:
    """All comparisons of an import."""

    images: str
    """Which images it was made on."""
    rows: tuple[Row, ...]
    found: int | None = None
    """Boxes that the original found in all images; None: it finds none by nature."""

    @property
    def fails_in_batches(self) -> bool:
        """Whether single images get their answers, and several at once do not."""
        failed = {row.batch for row in self.rows if not row.ok}
        return bool(failed) and 1 not in failed

    def require(self) -> None:
        """Raise ImportModelError if any comparison failed."""
        failed = [row for row in self.rows if not row.ok]
        if failed:
            raise ImportModelError(
                f'the bundle does not answer as the original does, on {self.images}: '
                + '; '.join(
                    f'{row.output} at batch {row.batch}: expected at most {row.allowed}, got '
                    f'{row.difference}' for row in failed
                )
                + '; the graph may hold its batch size in a way that is not known here: export it '
                'with a dynamic batch'
            )


def prove(
    payload: bytes,
    plan: Plan,
    pixels: PixelFormat,
    images: Images,
    tolerance: Tolerance,
    described: str,
) -> Proof:
    """Compare a bundle's graph with the original network run by its own recipe.

    :param images: letterboxed, uint8 [n, H, W, 3] RGB; at least as many as the greatest batch.
    :param described: where the images come from.
    :raises ImportModelError: a graph cannot be run at all.
    """
    foreign = plan.network
    bundle = Session(payload, "the bundle's graph")
    tensors = pixels.apply(images)
    raw = [
        {
            name: (value[0] if plan.outputs_have_batch else value).astype(np.float32)
            for name, value in foreign.run_one(tensor).items()
        }
        for tensor in tensors
    ]
    network = None
    if plan.outputs_have_batch and not plan.sorts:
        network = Session(foreign.model.SerializeToString(), 'the network with its batch')
    rows: list[Row] = []
    boxes = [plan.boxes_of(item) for item in raw] if plan.boxes_of else []
    for batch in BATCH_SIZES:
        # One call at each size; at the greatest, as many as all images need.
        count = len(images) if batch == max(BATCH_SIZES) else batch
        if batch > 1 and network:
            took = network.each(foreign.input_name, foreign.feed(tensors[:count]), batch)
            rows += _raw_rows(batch, raw[:count], took, tolerance)
        answers = bundle.each(INPUT_NAME, images[:count], batch)
        if plan.boxes_of:
            rows += _boxes_rows(batch, boxes[:count], answers, tolerance)
        for head, ids_of in plan.ids_of.items():
            ids = [ids_of(item) for item in raw[:count]]
            rows.append(_mask_row(batch, f'semantic_{head}', ids, answers, tolerance))
    found = sum(len(item.scores) for item in boxes) if plan.boxes_of else None
    return Proof(described, tuple(rows), found)


def synthetic_images(count: int, height: int, width: int, seed: int = 0) -> Images:
    """Return images with soft shades, hard-edged shapes and noise: uint8 [count, H, W, 3]."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, height, width, 3), np.uint8)
    for image in images:
        corners = rng.uniform(30, 220, (2, 2, 3))
        y, x = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
        shade = (1 - y) * ((1 - x) * corners[0, 0] + x * corners[0, 1])
        shade = shade + y * ((1 - x) * corners[1, 0] + x * corners[1, 1])
        for _ in range(12):
            top, left = rng.integers(0, height), rng.integers(0, width)
            bottom = top + rng.integers(4, max(height // 3, 5))
            right = left + rng.integers(4, max(width // 3, 5))
            shade[top:bottom, left:right] = rng.uniform(0, 255, 3)
        image[...] = (shade + rng.normal(0, 6, shade.shape)).clip(0, 255)
    return images


def _raw_rows(
    batch: int, expected: Sequence[Answer], came: Sequence[Answer], tolerance: Tolerance
) -> Iterator[Row]:
    for name in expected[0]:
        worst = 0.0
        for want, got in zip(expected, came, strict=True):
            if want[name].shape != got[name].shape:
                raise ImportModelError(
                    f'output {name!r} at batch {batch}: expected {want[name].shape} an image, got '
                    f'{got[name].shape}; export the model with a dynamic batch'
                )
            scale = max(float(np.abs(want[name]).max(initial=0)), 1e-6)
            worst = max(worst, float(np.abs(want[name] - got[name]).max(initial=0)) / scale)
        yield Row(
            f'network {name}', batch, f'all in {len(came)}', f'{worst:.0e} of greatest',
            f'{tolerance.raw:.0e}', worst <= tolerance.raw,
        )


def _boxes_rows(
    batch: int,
    expected: Sequence[recipe.Boxes],
    answers: Sequence[Answer],
    tolerance: Tolerance,
) -> Iterator[Row]:
    total = lonely = 0
    worst_px = worst_score = worst_mask = 0.0
    for want, answer in zip(expected, answers, strict=True):
        count = int((answer['scores'] > 0).sum())
        boxes, scores, labels = (answer[key][:count] for key in ('boxes', 'scores', 'labels'))
        masks = answer['masks'][:count] if want.masks is not None else None
        came = recipe.Boxes(boxes, scores, labels, masks)
        pairs, px, score, mask = _pair(want, came, tolerance)
        total += max(len(want.scores), count)
        lonely += max(len(want.scores), count) - pairs
        worst_px, worst_score = max(worst_px, px), max(worst_score, score)
        worst_mask = max(worst_mask, mask)
    compared = f'{total} in {len(expected)}'
    yield Row(
        'boxes', batch, compared,
        f'{worst_px:.0e} px, {worst_score:.0e} score, {lonely} unpaired',
        f'{tolerance.boxes:.0%} unpaired', lonely <= tolerance.boxes * total,
    )
    if expected and expected[0].masks is not None:
        yield Row(
            'masks', batch, compared, f'{worst_mask:.0e} in a mask', f'{tolerance.mask:.0e}',
            worst_mask <= tolerance.mask,
        )


def _pair(
    want: recipe.Boxes, came: recipe.Boxes, tolerance: Tolerance
) -> tuple[int, float, float, float]:
    """Pair equal boxes one to one; return how many, and the greatest differences of the pairs.

    :returns: pairs, px of a side, score, and probability of a mask's cells on average.
    """
    pairs, worst_px, worst_score, worst_mask = 0, 0.0, 0.0, 0.0
    free = np.ones(len(came.scores), bool)
    for i, (box, score, label) in enumerate(
        zip(want.boxes, want.scores, want.labels, strict=True)
    ):
        px = np.abs(came.boxes - box).max(axis=1) if len(came.boxes) else np.empty(0)
        limit = tolerance.box_px * max(float((box[2:] - box[:2]).max()) / 100, 1.0)
        same = free & (came.labels == label) & (px <= limit)
        same &= np.abs(came.scores - score) <= tolerance.score
        if same.any():
            best = int(np.where(same, px, np.inf).argmin())
            free[best] = False
            pairs += 1
            worst_px = max(worst_px, float(px[best]))
            worst_score = max(worst_score, float(abs(came.scores[best] - score)))
            if want.masks is not None and came.masks is not None:
                away = np.abs(want.masks[i] - came.masks[best])
                worst_mask = max(worst_mask, float(away.mean()))
    return pairs, worst_px, worst_score, worst_mask


def _mask_row(
    batch: int,
    output: str,
    expected: Sequence[NDArray[np.uint8]],
    answers: Sequence[Answer],
    tolerance: Tolerance,
) -> Row:
    pairs = zip(expected, answers, strict=True)
    worst = max(float((want != answer[output]).mean()) for want, answer in pairs)
    return Row(
        output, batch, f'all in {len(expected)}', f'{worst:.3%} of cells',
        f'{tolerance.cells:.1%}', worst <= tolerance.cells,
    )
