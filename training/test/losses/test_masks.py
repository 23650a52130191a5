"""Masks of prototypes cost least where they are right, and nothing where nobody outlined them."""

from builders import batch_of, street
import numpy as np
import pytest
import torch

from perception_training.config.loss import DetectionLossConfig
from perception_training.losses.assign import Assignment
from perception_training.losses.detection import detection_losses
from perception_training.losses.masks import prototype_loss
from perception_training.models.anchors import anchors

BOX = (32, 24, 96, 72)


def raw_of(images: int, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Give two anchors, both with the weight 1 of the one prototype."""
    return {'masks': torch.ones(images, 2, 1).requires_grad_(),
            'prototypes': logits.expand(images, 1, -1, -1).clone().requires_grad_()}


def assigned(images: int, quality: tuple[float, float] = (0.5, 0.0)) -> Assignment:
    value = torch.tensor([quality]).expand(images, -1)
    return Assignment(value > 0, torch.zeros(images, 2, dtype=torch.int64), value, value < 0)


def true_cells() -> torch.Tensor:
    cells = torch.zeros(24, 32)
    cells[6:18, 8:24] = 1
    return cells


@pytest.mark.parametrize(('logits', 'cost'), [
    (20 * true_cells() - 10, 0.0), (torch.zeros(24, 32), np.log(2)), (10 - 20 * true_cells(), 10)],
    ids=['right', 'undecided', 'inside out'])
def test_it_is_the_mean_over_the_box(logits: torch.Tensor, cost: float) -> None:
    loss = prototype_loss(raw_of(1, logits), batch_of([street('a', BOX)]), assigned(1))
    assert loss.item() == pytest.approx(cost, abs=1e-3)


def test_what_lies_far_outside_of_the_box_costs_nothing() -> None:
    """One prototype serves many objects: each of them says what is within its own box."""
    logits = 20 * true_cells() - 10
    logits[:3], logits[:, 28:] = 10, 10
    loss = prototype_loss(raw_of(1, logits), batch_of([street('a', BOX)]), assigned(1))
    assert loss.item() == pytest.approx(0, abs=1e-3)


def test_anchors_count_by_their_quality_beside_the_best_of_their_object() -> None:
    raw = raw_of(1, torch.ones(24, 32))
    prototype_loss(raw, batch_of([street('a', BOX)]), assigned(1, (0.8, 0.2))).backward()
    first, second = raw['masks'].grad[0, :, 0]
    assert first / second == pytest.approx(4, rel=1e-4)


def test_images_without_outlines_cost_and_teach_nothing() -> None:
    whole, bare = street('a', BOX), street('b', BOX).with_boxes([BOX], [0])
    alone = prototype_loss(raw_of(1, torch.zeros(24, 32)), batch_of([whole]), assigned(1))
    raw = raw_of(2, torch.zeros(24, 32))
    both = prototype_loss(raw, batch_of([whole, bare]), assigned(2))
    assert both == alone
    both.backward()
    assert (raw['prototypes'].grad[1] == 0).all()
    raw = raw_of(1, torch.zeros(24, 32))
    nothing = prototype_loss(raw, batch_of([bare]), assigned(1))
    nothing.backward()
    assert nothing == 0 and raw['masks'].grad is not None


def test_they_are_a_term_of_the_boxes() -> None:
    """Of the anchors that the boxes are assigned to."""
    centres, strides = anchors(96, 128, (8, 16, 32))
    rows = len(centres)
    raw = {'boxes': torch.tensor(BOX).float().expand(1, rows, 4), 'centres': centres,
           'strides': strides, 'classes': torch.zeros(1, rows, 5),
           'distances': torch.zeros(1, rows, 64), 'masks': torch.ones(1, rows, 1),
           'prototypes': (20 * true_cells() - 10)[None, None]}
    batch = batch_of([street('a', BOX)])
    right, wrong = (detection_losses({**raw, 'masks': weights}, batch, DetectionLossConfig())
                    ['masks'] for weights in (raw['masks'], -raw['masks']))
    assert right < 0.01 < 5 < wrong
