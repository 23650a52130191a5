"""What is not labelled costs nothing in either stage, and masks are cut where their boxes are."""

from builders import batch_of, CLASSES, street
from hypothesis import given, settings, strategies
import numpy as np
import pytest
import torch

from perception_ros.core.instances import whole_masks
from perception_training.data.geometry import cut, mirror
from perception_training.data.sample import Batch, UNKNOWN_BOX
from perception_training.losses import masks, two_stage
from perception_training.losses.assign import Assignment
from perception_training.losses.two_stage import (
    outlines_in,
    proposal_losses,
    region_losses,
    sample,
    sample_regions,
)
from perception_training.models.regions import anchors_at

BOX = (32, 24, 96, 72)
COUNT = 1 + len(CLASSES)


def first_stage(images: int) -> dict[str, torch.Tensor]:
    """Give raw answers of a first stage that says nothing, at strides 16 and 32."""
    around = torch.tensor([[[-16.0, -12, 16, 12]], [[-32, -24, 32, 24]]])
    anchors = torch.cat(anchors_at([(6, 8), (3, 4)], (16, 32), around))
    return {'anchors': anchors, 'objectness': torch.zeros(images, len(anchors)).requires_grad_(),
            'codes': torch.zeros(images, len(anchors), 4).requires_grad_()}


def second_stage(batch: Batch, *boxes: tuple[float, ...]) -> dict[str, torch.Tensor]:
    """Give the costs of a second stage that says nothing of these regions and the true ones."""
    regions = torch.tensor(boxes).expand(len(batch.images), -1, -1)
    found = sample_regions(regions, torch.ones(regions.shape[:2], dtype=torch.bool), batch, 12)
    rows = len(batch.images) * found.boxes.shape[1]
    cells = torch.zeros(len(batch.images) * found.most, COUNT, 28, 28)
    return region_losses(found, torch.zeros(rows, COUNT), torch.zeros(rows, COUNT * 4), cells,
                         batch)


def unlabelled(classes: slice) -> Batch:
    sample = street('a', BOX).with_boxes([], [])
    sample.labelled[classes] = False
    return batch_of([sample])


def test_an_object_draws_the_anchors_that_cover_it_best() -> None:
    raw = first_stage(1)
    costs = proposal_losses(raw, batch_of([street('a', BOX)]))
    sum(costs.values()).backward()
    pulled = raw['codes'].grad[0].abs().amax(1) > 0
    assert pulled.any()
    middle = (raw['anchors'][pulled][:, :2] + raw['anchors'][pulled][:, 2:]) / 2
    assert (middle - torch.tensor([64.0, 48])).abs().max() <= 16
    assert (raw['objectness'].grad[0, pulled] < 0).all()


@pytest.mark.parametrize('images', ['none are labelled', 'some are labelled'])
def test_background_is_learnt_where_all_classes_are_labelled(images: str) -> None:
    """A rider that nobody marked is no background."""
    raw = first_stage(1)
    batch = unlabelled(slice(None) if images == 'none are labelled' else slice(1, None))
    assert sum(proposal_losses(raw, batch).values()).item() == 0
    raw = first_stage(1)
    assert proposal_losses(raw, unlabelled(slice(0)))['proposal_objectness'] > 0.5


def test_a_region_may_be_of_any_class_that_is_not_labelled() -> None:
    """It costs what it gives to classes of which it is known that they are not there."""
    costs = [second_stage(unlabelled(classes), (4.0, 4, 30, 30))['region_classes'].item()
             for classes in (slice(None), slice(1, None), slice(0))]
    share = [1, (COUNT - 1) / COUNT, 1 / COUNT]
    np.testing.assert_allclose(costs, -np.log(share), atol=1e-5)


def test_unknown_regions_are_neither_background_nor_objects() -> None:
    batch = batch_of([street('a', BOX).with_boxes([BOX], [UNKNOWN_BOX])])
    raw = first_stage(1)
    proposal_losses(raw, batch)['proposal_objectness'].backward()
    middle = (raw['anchors'][:, :2] + raw['anchors'][:, 2:]) / 2
    inside = ((middle > torch.tensor([32.0, 24])) & (middle < torch.tensor([96.0, 72]))).all(1)
    assert inside.any()
    assert torch.equal(raw['objectness'].grad[0] == 0, inside)
    assert second_stage(batch, (40.0, 30, 90, 70))['region_classes'] == 0
    assert second_stage(batch, (2.0, 2, 20, 20))['region_classes'] > 1


def test_without_outlines_no_mask_is_learnt() -> None:
    whole, bare = street('a', BOX), street('b', BOX).with_boxes([BOX], [0])
    region = tuple(float(side) for side in BOX)
    assert second_stage(batch_of([bare]), region)['region_masks'] == 0
    # Beside an image with outlines: the mean is over that one alone.
    alone, both = (second_stage(batch_of(samples), region)['region_masks']
                   for samples in ([whole], [whole, bare]))
    assert alone == both == pytest.approx(np.log(2), abs=1e-5)


def test_processes_with_and_without_outlines_count_together(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that did not count would keep all the others waiting."""
    counts: list[float] = []
    for module in (masks, two_stage):
        monkeypatch.setattr(module, 'mean_count', lambda count: counts.append(float(count)) or 1)
    whole, bare = street('a', BOX), street('b', BOX).with_boxes([BOX], [0])
    region = tuple(float(side) for side in BOX)
    calls = []
    for sample_ in (whole, bare, bare.with_boxes([], [])):
        batch = batch_of([sample_])
        second_stage(batch, region)
        value = torch.ones(1, 2)
        masks.prototype_loss(
            {'masks': torch.ones(1, 2, 1), 'prototypes': torch.zeros(1, 1, 24, 32)}, batch,
            Assignment(value > 0, value.long() * 0, value, value < 0))
        calls.append(len(counts))
    assert calls == [3, 6, 9]


@pytest.mark.parametrize(('positive', 'negative', 'chosen'), [
    (0, 40, (0, 16)), (2, 40, (2, 14)), (30, 40, (4, 12)), (30, 3, (4, 3)), (0, 0, (0, 0))])
def test_rows_are_sampled_up_to_a_share(positive: int, negative: int,
                                        chosen: tuple[int, int]) -> None:
    kinds = torch.zeros(1, 80)
    kinds[0, :positive] = 1
    kinds[0, positive:positive + negative] = -1
    found = sample(kinds > 0, kinds < 0, 16, 0.25)
    assert found.index.shape == (1, 16)
    assert (int(found.positive.sum()), int((found.used & ~found.positive).sum())) == chosen
    assert found.positive[0, :chosen[0]].all()  # they come first
    assert (kinds.gather(1, found.index)[found.positive] == 1).all()
    assert (kinds.gather(1, found.index)[found.used & ~found.positive] == -1).all()
    assert len(set(found.index[0].tolist())) == 16


@settings(max_examples=40, deadline=None)
@given(left=strategies.integers(-30, 60), top=strategies.integers(-30, 40),
       size=strategies.integers(60, 200), mirrored=strategies.booleans())
def test_a_mask_comes_back_where_it_was_cut_out(
    left: int, top: int, size: int, mirrored: bool
) -> None:
    """Through windows, mirrors, batches and boxes: a shift anywhere would be learnt for ever."""
    view = cut(street('a', (40, 30, 90, 80)), (left, top, size, size * 3 // 4), 128, 96)
    view = mirror(view) if mirrored else view
    if len(view.boxes) == 0 or (view.boxes[0, 2:] - view.boxes[0, :2]).min() < 16:
        return
    batch = batch_of([view])
    cells = outlines_in(batch, torch.zeros(1, 1, dtype=torch.int64), batch.boxes, 28)
    (whole,) = whole_masks(cells[0].numpy(), view.boxes, view.size)
    true = view.masks[0] == 1
    # Cells of a batch are 4 px wide: an edge may lie half of one beside its place, and a pixel of
    # the view beside that.
    assert np.abs(extent(whole) - extent(true)).max() <= 3


def extent(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.nonzero(mask)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
