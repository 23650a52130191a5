"""The proof at the end of an import: the bundle against the original, at several batch sizes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
import onnx

from perception_ros.bundles import recipe
from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.bundles.families import head_ids, Plan
from perception_ros.bundles.graph.foreign import ForeignGraph
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.options import Tolerance
from perception_ros.core.errors import ImportModelError

BATCH_SIZES = (1, 2, 5)
Images = NDArray[np.uint8]
Answer = dict[str, NDArray[Any]]
"""Outputs of a graph for one image, without the batch."""


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
    foreign: ForeignGraph,
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
    original = _Session(foreign.original.SerializeToString(), 'the original graph')
    network = _Session(foreign.model.SerializeToString(), 'the network with a dynamic batch')
    bundle = _Session(payload, "the bundle's graph")
    tensors = pixels.apply(images)
    if foreign.dtype == onnx.TensorProto.FLOAT16:
        tensors = tensors.astype(np.float16)
    raw = [
        {name: value.astype(np.float32) for name, value in item.items()}
        for item in original.each(foreign.input_name, tensors, 1)
    ]
    rows: list[Row] = []
    for batch in BATCH_SIZES:
        # One call at each size; at the greatest, as many as all images need.
        count = len(images) if batch == max(BATCH_SIZES) else batch
        if batch > 1:
            took = network.each(foreign.input_name, tensors[:count], batch)
            rows += _raw_rows(batch, raw[:count], took, tolerance)
        answers = bundle.each(INPUT_NAME, images[:count], batch)
        if plan.boxes_of:
            expected = [plan.boxes_of(item) for item in raw[:count]]
            rows.append(_boxes_row(batch, expected, answers, tolerance))
        for head in plan.semantic:
            ids = [head_ids(plan, head, item, foreign.width) for item in raw[:count]]
            rows.append(_mask_row(batch, f'semantic_{head}', ids, answers, tolerance))
    return Proof(described, tuple(rows))


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


class _Session:
    """ONNX Runtime on the CPU, with errors that say which graph failed."""

    def __init__(self, payload: bytes, what: str) -> None:
        import onnxruntime as ort  # here: only an import needs it, not a bundle that is opened

        self._what = what
        options = ort.SessionOptions()
        options.log_severity_level = 4  # failures come as exceptions, and are reported once
        try:
            self._session = ort.InferenceSession(
                payload, options, providers=['CPUExecutionProvider']
            )
        except Exception as error:  # onnxruntime's exceptions have no common public base
            raise ImportModelError(f'ONNX Runtime cannot open {what}: {error}') from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def each(self, name: str, values: NDArray[Any], batch: int) -> list[Answer]:
        """Run all `values`, `batch` at a time, and return the outputs of each."""
        answers: list[Answer] = []
        for start in range(0, len(values), batch):
            chunk = values[start : start + batch]
            try:
                outputs = self._session.run(self._outputs, {name: chunk})
            except Exception as error:
                raise ImportModelError(
                    f'{self._what} fails at batch {len(chunk)}: {error}; export the model with a '
                    'dynamic batch'
                ) from error
            for key, value in zip(self._outputs, outputs, strict=True):
                if len(value) != len(chunk):
                    raise ImportModelError(
                        f'{self._what}: output {key!r} holds {len(value)} answers for a batch of '
                        f'{len(chunk)}; export the model with a dynamic batch'
                    )
            answers += [
                {key: value[i] for key, value in zip(self._outputs, outputs, strict=True)}
                for i in range(len(chunk))
            ]
        return answers


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


def _boxes_row(
    batch: int,
    expected: Sequence[recipe.Boxes],
    answers: Sequence[Answer],
    tolerance: Tolerance,
) -> Row:
    total = lonely = 0
    worst_px = worst_score = 0.0
    for want, answer in zip(expected, answers, strict=True):
        count = int((answer['scores'] > 0).sum())
        came = recipe.Boxes(*(answer[key][:count] for key in ('boxes', 'scores', 'labels')))
        pairs, px, score = _pair(want, came, tolerance)
        total += max(len(want.scores), count)
        lonely += max(len(want.scores), count) - pairs
        worst_px, worst_score = max(worst_px, px), max(worst_score, score)
    return Row(
        'boxes', batch, f'{total} in {len(expected)}',
        f'{worst_px:.0e} px, {worst_score:.0e} score, {lonely} unpaired',
        f'{tolerance.boxes:.0%} unpaired', lonely <= tolerance.boxes * total,
    )


def _pair(
    want: recipe.Boxes, came: recipe.Boxes, tolerance: Tolerance
) -> tuple[int, float, float]:
    """Pair equal boxes one to one; return how many, and their greatest differences."""
    pairs, worst_px, worst_score = 0, 0.0, 0.0
    free = np.ones(len(came.scores), bool)
    for box, score, label in zip(want.boxes, want.scores, want.labels, strict=True):
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
    return pairs, worst_px, worst_score


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
