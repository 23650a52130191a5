"""What is not labelled costs queries nothing, in the library's own criteria."""

from typing import Any

from builders import batch_of, CLASSES, street
import pytest
import torch
import transformers

from perception_training.data.sample import UNKNOWN_BOX
from perception_training.losses.queries import (
    DFineCriterion,
    query_losses,
    RtDetrCriterion,
    targets_of,
)

ON_IT = (40 / 128, 56 / 96, 40 / 128, 32 / 96)
"""The box of `street('a', (20, 40, 60, 72))`, cx cy w h."""
ELSEWHERE = (0.8, 0.2, 0.1, 0.1)
CRITERIA = {'rtdetrv2': (RtDetrCriterion, transformers.RTDetrV2Config),
            'dfine': (DFineCriterion, transformers.DFineConfig)}


def said(*boxes: tuple[float, ...]) -> dict[str, Any]:
    """Give what a decoder says: one query for each box, unsure of every class."""
    return {'logits': torch.zeros(1, len(boxes), len(CLASSES), requires_grad=True),
            'pred_boxes': torch.tensor([boxes], requires_grad=True), 'auxiliary_outputs': []}


def cost(name: str, outputs: dict[str, Any], sample: Any) -> dict[str, torch.Tensor]:
    kind, settings = CRITERIA[name]
    criterion = kind(settings(num_labels=len(CLASSES)))
    terms = query_losses(criterion, outputs, targets_of(batch_of([sample])))
    torch.stack(list(terms.values())).sum().backward()
    return terms


@pytest.fixture(params=CRITERIA)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_box_in_place_costs_only_its_unsure_score(name: str) -> None:
    outputs = said(ELSEWHERE, ON_IT)
    terms = cost(name, outputs, street('a', (20, 40, 60, 72)))
    assert terms['l1'].item() == pytest.approx(0, abs=1e-6)
    assert terms['giou'].item() == pytest.approx(0, abs=1e-5)
    slope = outputs['logits'].grad[0]
    assert slope[1, 0] < 0, 'the query on the car must become surer of it'
    assert (slope[0] > 0).all(), 'and the other of nothing'


def test_a_class_that_a_set_does_not_label_is_no_background(name: str) -> None:
    sample = street('a', (20, 40, 60, 72))
    sample.labelled[1:3] = False
    outputs = said(ELSEWHERE, ON_IT)
    cost(name, outputs, sample)
    slope = outputs['logits'].grad[0]
    assert (slope[:, 1:3] == 0).all()
    assert (slope[:, 3:] > 0).all() and slope[1, 0] < 0


def test_a_box_of_such_a_class_is_learnt_where_there_is_one(name: str) -> None:
    """Teachers add single boxes to sets that do not label their class."""
    sample = street('a', (20, 40, 60, 72), label=2)
    sample.labelled[2] = False
    outputs = said(ELSEWHERE, ON_IT)
    cost(name, outputs, sample)
    slope = outputs['logits'].grad[0]
    assert slope[1, 2] < 0 and slope[0, 2] == 0


def test_a_query_in_an_unknown_region_costs_nothing(name: str) -> None:
    sample = street('a', (20, 40, 60, 72)).with_boxes([(20, 40, 60, 72)], [UNKNOWN_BOX])
    outputs = said(ELSEWHERE, ON_IT)
    terms = cost(name, outputs, sample)
    assert terms['l1'] == 0 and terms['giou'] == 0
    slope = outputs['logits'].grad[0]
    assert (slope[1] == 0).all() and (slope[0] > 0).all()


def test_boxes_that_are_not_finite_reach_the_guard(name: str) -> None:
    """The library's own error would speak of corners in the wrong order."""
    terms = cost(name, said((float('nan'),) * 4, ON_IT), street('a', (20, 40, 60, 72)))
    assert not torch.isfinite(torch.stack(list(terms.values())).sum())
