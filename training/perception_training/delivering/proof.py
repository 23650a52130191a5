"""The proof at the end of an export: the bundle against the checkpoint, on real images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
import torch

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle, recipe
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data.sample import to_input
from perception_training.errors import TrainingError
from perception_training.measuring.predict import selection
from perception_training.models import BOXES, BoxTask, Network, SemanticTask

BATCH_SIZES = (1, 2, 5)
BOX_PX, SCORE, CELLS, UNPAIRED = 0.05, 1e-3, 1e-3, 0.01
"""Allowed: px of a side, score, share of mask cells, share of boxes without a partner."""
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

    @property
    def ok(self) -> bool:
        """Whether the two give the same answers."""
        return (self.box_px <= BOX_PX and self.score <= SCORE and self.cells <= CELLS and
                self.unpaired <= UNPAIRED * max(self.boxes, 1))

    def __str__(self) -> str:
        return (f'batch {self.batch}: {self.boxes} boxes in {self.images} images, '
                f'{self.unpaired} unpaired, {self.box_px:.3f} px, {self.score:.0e} score, '
                f'{self.cells:.3%} of cells')


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
            + f'; allowed: {BOX_PX} px, {SCORE:.0e} score, {CELLS:.1%} of cells')
    return rows


def compare(network: Network, config: Config, bundle: Bundle,
            images: Sequence[Images]) -> tuple[Agreement, ...]:
    """
    Compare a network in torch, image by image, with its bundle at batch sizes 1, 2 and 5.

    :param images: uint8 `[h, w, 3]` RGB of any size, at least five.
    """
    canvases = np.empty((len(images), config.height, config.width, 3), np.uint8)
    for canvas, image in zip(canvases, images, strict=True):
        size = (image.shape[1], image.shape[0])
        Letterbox.fit(size, (config.width, config.height)).write(image, None, canvas)
    wanted = [expected(network, config, canvas) for canvas in canvases]
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
                    row = _with(row, wanted[start + place], came)
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
        elif isinstance(task, BoxTask):
            best = recipe.select(answers[BOXES], answers['scores'], selection(config, task),
                                 len(answers['scores']))
            found |= {'boxes': best.boxes, 'scores': best.scores, 'labels': best.labels}
    return found


def _with(row: Agreement, wanted: dict[str, NDArray], came: dict[str, NDArray]) -> Agreement:
    boxes, unpaired, px, score, cells = row.boxes, row.unpaired, row.box_px, row.score, row.cells
    if 'boxes' in wanted:
        differences = [_nearest(w, came) for w in zip(
            wanted['boxes'], wanted['labels'], wanted['scores'], strict=True)]
        pairs = [d for d in differences if d is not None]
        most = max(len(differences), int((came['scores'] > 0).sum()))
        boxes, unpaired = boxes + most, unpaired + most - len(pairs)
        px = max([px, *(d[0] for d in pairs)])
        score = max([score, *(d[1] for d in pairs)])
    for name, ids in wanted.items():
        if name.startswith('semantic_'):
            cells = max(cells, float((ids != came[name]).mean()))
    return Agreement(row.batch, row.images + 1, boxes, unpaired, px, score, cells)


def _nearest(wanted: tuple[NDArray, NDArray, NDArray],
             came: dict[str, NDArray]) -> tuple[float, float] | None:
    """Give the differences in px and score from the nearest box of the class, within a pixel."""
    box, label, score = wanted
    rivals = (came['labels'] == label) & (came['scores'] > 0)
    if not rivals.any():
        return None
    px = np.abs(came['boxes'][rivals] - box).max(1)
    best = int(px.argmin())
    if px[best] > 1:
        return None
    return float(px[best]), float(abs(came['scores'][rivals][best] - score))
