"""Assignment and losses on cases that can be worked out by hand."""

import pytest
import torch

from perception_training.config import LossConfig
from perception_training.data import BACKDROP, UNKNOWN_BOX, UNKNOWN_SCENE
from perception_training.losses import assign, complete_iou, iou, scene_loss
from perception_training.model import anchors

CENTRES, STRIDES = anchors(96, 128)
NOTHING = torch.full((len(CENTRES), 5), 0.01)


def _guess(size: float = 4.0) -> torch.Tensor:
    half = STRIDES * size / 2
    return torch.cat((CENTRES - half, CENTRES + half), 1)


@pytest.mark.parametrize('box', [
    pytest.param([20.0, 20, 70, 60], id='car'),
    pytest.param([57.1, 41.3, 60.2, 44.1], id='smaller-than-a-cell'),
    pytest.param([0.0, 0, 128, 96], id='fills-the-view'),
])
def test_every_box_finds_an_anchor(box: list[float]) -> None:
    """A box that nobody answers for is never learnt."""
    truth = torch.tensor([box])
    got = assign(_guess(), NOTHING, CENTRES, STRIDES, truth, torch.tensor([0]), LossConfig())
    assert 1 <= got.positive.sum() <= LossConfig().topk
    assert (got.quality[~got.positive] == 0).all()


def test_the_better_of_two_boxes_gets_a_shared_anchor() -> None:
    """Two targets for one anchor would pull it into the middle of both."""
    truth = torch.tensor([[20.0, 20, 60, 60], [24.0, 24, 64, 64]])
    guess = _guess()
    guess[:] = truth[1]
    greedy = LossConfig(topk=len(CENTRES))  # both claim whatever lies inside of both
    got = assign(guess, NOTHING, CENTRES, STRIDES, truth, torch.tensor([0, 0]), greedy)
    shared = ((CENTRES > 25) & (CENTRES < 59)).all(1)
    assert got.positive[shared].all()
    assert (got.box[shared] == 1).all()


def test_unknown_regions_are_neither_positive_nor_background() -> None:
    """An unlabelled motorbike must not teach that motorbikes are background."""
    truth = torch.tensor([[20.0, 20, 60, 60]])
    got = assign(_guess(), NOTHING, CENTRES, STRIDES, truth, torch.tensor([UNKNOWN_BOX]),
                 LossConfig())
    assert not got.positive.any()
    inside = ((CENTRES > 20) & (CENTRES < 60)).all(1)
    assert torch.equal(got.ignored, inside)


def test_quality_is_the_overlap_of_the_best_anchor() -> None:
    """Objectness shall say how well the box fits."""
    truth = torch.tensor([[16.0, 16, 48, 48]])
    guess = _guess()
    got = assign(guess, NOTHING, CENTRES, STRIDES, truth, torch.tensor([1]), LossConfig())
    assert got.quality.max() == pytest.approx(float(iou(guess, truth).max()), abs=1e-5)


def test_complete_iou_knows_direction_where_iou_is_zero() -> None:
    """Without it a box that misses its target would have no way to it."""
    truth = torch.tensor([0.0, 0, 10, 10])
    near = complete_iou(torch.tensor([12.0, 0, 22, 10]), truth)
    far = complete_iou(torch.tensor([40.0, 0, 50, 10]), truth)
    assert far < near < 0
    assert complete_iou(truth, truth) == pytest.approx(1, abs=1e-4)


def test_unknown_cells_cost_nothing_and_backdrop_only_what_stands_on_the_ground() -> None:
    logits = torch.zeros(1, 11, 2, 2)
    logits[:, 3] = 9.0
    weight = torch.ones(1)
    unknown = torch.full((1, 2, 2), UNKNOWN_SCENE)
    assert scene_loss(logits, unknown, weight) == 0
    excluded = torch.full((1, 2, 2), BACKDROP)
    assert scene_loss(logits, excluded, weight) > 3
    assert scene_loss(-logits, excluded, weight) < 0.2  # car still has its tenth
    assert scene_loss(logits.roll(-3, 1), excluded, weight) < 0.01
    assert scene_loss(logits.roll(5, 1), excluded, weight) > 3
