"""The proof at the end of an export: the bundle against the checkpoint, on real images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
import torch

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle, recipe
from perception_ros.core.instances import whole_masks
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data.sample import to_input
from perception_training.errors import TrainingError
from perception_training.measuring.predict import chosen
from perception_training.models import MASKS, Network, SemanticTask

BATCH_SIZES = (1, 2, 5)
BOX_PX, SCORE, CELLS, MASK, UNPAIRED = 0.05, 1e-3, 1e-3, 1e-3, 0.01
"""Allowed: px of a side, score, share of the cells of label maps, share of the pixels of boxes
that their masks show differently, share of boxes without a partner."""
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Agreement:
    """How far a bundle lies from its checkpoint at one batch size; the greatest differences."""

    batch: int
    images: int
    boxes: int = 0
    """Compared; those with equal scores may be chosen either way, and have no partner."""
    unpaired: int = 0
    box_px: float = 0.0
    score: float = 0.0
    cells: float = 0.0
    """Share of the cells of label maps."""
    mask_px: int = 0
    """Pixels in boxes that have masks."""
    mask_wrong_px: int = 0
    """So many of them only one of the two masks shows."""

    @property
    def mask(self) -> float:
        """Share of the pixels of boxes that their masks show differently."""
        return self.mask_wrong_px / max(self.mask_px, 1)

    @property
    def ok(self) -> bool:
        """Whether the two give the same answers."""
        return (self.box_px <= BOX_PX and self.score <= SCORE and self.cells <= CELLS and
                self.mask <= MASK and self.unpaired <= UNPAIRED * max(self.boxes, 1))

    def __str__(self) -> str:
        return (f'batch {self.batch}: {self.boxes} boxes in {self.images} images, '
                f'{self.unpaired} unpaired, {self.box_px:.3f} px, {self.score:.0e} score, '
                f'{self.cells:.3%} of cells, {self.mask:.3%} of mask pixels')


def prove(network: Network, config: Config, bundle: Bundle,
          images: Sequence[Images]) -> tuple[Agreement, ...]:
    """
    Require that a network in torch and its bundle answer alike.

    :param images: as for `compare`.
    :raises TrainingError: they differ by more than is allowed.
    """
    rows = compare(network, config, bundle, images)
    if wrong := [row for row in rows if not row.ok]:
        raise TrainingError(
            'the bundle does not answer as the checkpoint does: '
            + '; '.join(str(row) for row in wrong)
            + f'; allowed: {BOX_PX} px, {SCORE:.0e} score, {CELLS:.1%} of cells, {MASK:.1%} of '
            'mask pixels')
    return rows


def compare(network: Network, config: Config, bundle: Bundle,
            images: Sequence[Images]) -> tuple[Agreement, ...]:
    """
    Compare a network in torch, image by image, with its bundle at batch sizes 1, 2 and 5.

    :param images: uint8 `[h, w, 3]` RGB of any size, at least five.
    """
    canvases = np.empty((len(images), config.height, config.width, 3), np.uint8)
    for canvas, image in zip(canvases, images, strict=True):
        own = (image.shape[1], image.shape[0])
        Letterbox.fit(own, (config.width, config.height)).write(image, None, canvas)
    size = (config.width, config.height)
    wanted = [_whole(expected(network, config, canvas), size) for canvas in canvases]
    rows = []
    with open_engine(bundle, 'onnxruntime',
                     EngineOptions(max_batch=max(BATCH_SIZES), device='cpu')) as engine:
        for batch in BATCH_SIZES:
            row = Agreement(batch, 0)
            for start in range(0, len(canvases) - batch + 1, batch):
                request = engine.request()
                request.images[:batch] = canvases[start:start + batch]
                request.start(batch)
                outputs = request.result()
                for place in range(batch):
                    came = {name: np.array(value[place]) for name, value in outputs.items()}
                    row = with_image(row, wanted[start + place], _whole(came, size), size)
                request.release()
            rows.append(row)
    return tuple(rows)


def expected(network: Network, config: Config, canvas: Images) -> dict[str, NDArray]:
    """Give what a bundle should answer for uint8 `[H, W, 3]`, by the plain recipe."""
    network.eval()
    with torch.no_grad():
        raw = network(to_input(torch.from_numpy(canvas)[None]))
        answers = {name: value[0].numpy() for name, value in network.answers(raw).items()}
    found: dict[str, NDArray] = {}
    for head, task in network.tasks.items():
        if isinstance(task, SemanticTask):
            enlarge = task.stride / config.bundle.semantic_stride
            found[f'semantic_{head}'] = recipe.semantic(answers[head], enlarge)
        else:
            best = chosen(answers, config, task)
            found |= {'boxes': best.boxes, 'scores': best.scores, 'labels': best.labels}
            if best.masks is not None:
                found[MASKS] = best.masks
    return found


def with_image(row: Agreement, wanted: dict[str, NDArray], came: dict[str, NDArray],
               size: tuple[int, int], scale: float = 1.0) -> Agreement:
    """
    Add an image's answers to what has been compared.

    :param wanted, came: named as a bundle's outputs are, of one image; masks bool `[N, H, W]`.
    :param size: width and height of the image that boxes and masks lie in, px.
    :param scale: pixels of the network's input per pixel of that image.
    """
    row = replace(row, images=row.images + 1)
    for name, ids in wanted.items():
        if name.startswith('semantic_'):
            row = replace(row, cells=max(row.cells, float((ids != came[name]).mean())))
    if 'boxes' not in wanted:
        return row
    partners = [_partner(box, label, came) for box, label in zip(
        wanted['boxes'], wanted['labels'], strict=True)]
    ours = [i for i, partner in enumerate(partners) if partner is not None]
    theirs = [partner for partner in partners if partner is not None]
    most = max(len(partners), int((came['scores'] > 0).sum()))
    row = replace(row, boxes=row.boxes + most, unpaired=row.unpaired + most - len(ours))
    if not ours:
        return row
    px, score = (float(np.abs(wanted[name][ours] - came[name][theirs]).max())
                 for name in ('boxes', 'scores'))
    row = replace(row, box_px=max(row.box_px, px * scale), score=max(row.score, score))
    if MASKS not in wanted:
        return row
    wrong = wanted[MASKS][ours] != came[MASKS][theirs]
    return replace(row, mask_px=row.mask_px + _pixels(wanted['boxes'][ours], size),
                   mask_wrong_px=row.mask_wrong_px + int(wrong.sum()))


def _whole(answers: dict[str, NDArray], size: tuple[int, int]) -> dict[str, NDArray]:
    """Give masks over the whole input, if there are any, not relative to their boxes."""
    if MASKS not in answers:
        return answers
    return {**answers, MASKS: whole_masks(answers[MASKS], answers['boxes'], size)}


def _partner(box: NDArray, label: int, came: dict[str, NDArray]) -> int | None:
    """Give the place of the nearest box of the class, within a pixel."""
    if not len(came['boxes']):
        return None
    px = np.abs(came['boxes'] - box).max(1)
    px[(came['labels'] != label) | (came['scores'] <= 0)] = np.inf
    best = int(px.argmin())
    return best if px[best] <= 1 else None


def _pixels(boxes: NDArray, size: tuple[int, int]) -> int:
    """Count the pixels of an image of `size` that lie in boxes, each box by itself."""
    inside = np.clip(boxes, 0, [*size, *size])
    return int(((inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])).sum())
