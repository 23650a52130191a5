"""Losses of label maps on cases that can be worked out by hand."""

from math import log

import pytest
import torch

from perception_training.config.loss import LossConfig, SemanticLossConfig
from perception_training.data.sample import EXCLUDED, UNKNOWN
from perception_training.losses.objective import Objective
from perception_training.losses.semantic import dice, lovasz, semantic_losses

NAMES = tuple('abcdefghijk')


def cost(logits: torch.Tensor, ids: torch.Tensor, **terms) -> dict[str, torch.Tensor]:
    config = SemanticLossConfig(**terms)
    return semantic_losses(logits, ids, torch.ones(len(ids)), config, NAMES)


def test_unknown_pixels_cost_nothing_and_excluded_ones_only_what_they_are_not() -> None:
    logits = torch.zeros(1, 11, 2, 2)
    logits[:, 3] = 9.0
    unknown = torch.full((1, 2, 2), UNKNOWN)
    excluded = torch.full((1, 2, 2), EXCLUDED)

    def of(values: torch.Tensor, ids: torch.Tensor) -> float:
        return float(cost(values, ids, none_of=('d', 'i'))['cross_entropy'])

    assert of(logits, unknown) == 0
    assert of(logits, excluded) > 3
    assert of(-logits, excluded) < 0.2  # the other class still has its tenth
    assert of(logits.roll(-3, 1), excluded) < 0.01
    assert of(logits.roll(5, 1), excluded) > 3


def test_a_batch_without_any_label_costs_nothing_but_hangs_on_the_weights() -> None:
    """Else processes would wait for each other's gradients for ever."""
    logits = torch.zeros(1, 11, 4, 4, requires_grad=True)
    terms = cost(logits, torch.full((1, 4, 4), UNKNOWN), dice=1, focal=1, lovasz=1)
    assert all(value.item() == 0 for value in terms.values())
    sum(terms.values()).backward()
    assert logits.grad is not None


def test_class_weights_count() -> None:
    logits = torch.zeros(1, 11, 1, 2)
    ids = torch.tensor([[[0, 1]]])
    weighted = cost(logits, ids, class_weights=(3.0, *[1.0] * 10))['cross_entropy']
    assert float(weighted) == pytest.approx(2 * log(11))


@pytest.mark.parametrize('loss', [dice, lovasz], ids=['dice', 'lovasz'])
def test_overlap_losses_are_zero_for_the_truth_and_one_for_its_opposite(loss) -> None:
    ids = torch.tensor([[[0, 0, 1, 1]]])
    labelled = torch.ones_like(ids, dtype=torch.bool)
    truth = torch.nn.functional.one_hot(ids, 2).movedim(-1, 1).float()
    assert float(loss(truth, ids, labelled)) == pytest.approx(0, abs=1e-5)
    assert float(loss(1 - truth, ids, labelled)) == pytest.approx(1, abs=1e-5)


def test_lovasz_of_hard_answers_is_one_less_the_iou() -> None:
    """That is what makes it a surrogate of the metric."""
    ids = torch.tensor([[[0, 0, 0, 1]]])
    answer = torch.nn.functional.one_hot(torch.tensor([[[0, 0, 1, 1]]]), 2).movedim(-1, 1).float()
    got = lovasz(answer, ids, torch.ones_like(ids, dtype=torch.bool))
    assert float(got) == pytest.approx(1 - (2 / 3 + 1 / 2) / 2, abs=1e-5)


def test_focal_loss_forgives_what_is_nearly_right() -> None:
    nearly, wrong = torch.zeros(1, 11, 1, 1), torch.zeros(1, 11, 1, 1)
    nearly[:, 0], wrong[:, 1] = 6.0, 6.0
    ids = torch.zeros(1, 1, 1)
    terms = [cost(logits, ids, focal=1) for logits in (nearly, wrong)]
    gains = [float(t['focal'] / t['cross_entropy']) for t in terms]
    assert gains[0] < 0.01 and gains[1] > 0.9


def test_learnt_balance_weighs_a_head_less_as_its_variance_grows() -> None:
    network = torch.nn.Module()
    network.tasks = {'scene': None}
    objective = Objective(network, LossConfig(balance='uncertainty'))
    terms = {'scene': {'cross_entropy': torch.tensor(2.0)}}
    assert objective._total(terms).item() == 2
    with torch.no_grad():
        objective.variances['scene'].fill_(1.0)
    assert objective._total(terms).item() == pytest.approx(2 * 0.36788 + 1, abs=1e-4)
