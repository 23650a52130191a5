"""Assignment on cases that can be worked out by hand."""

from builders import batch_of, street
import pytest
import torch

from perception_training.config.loss import DetectionLossConfig
from perception_training.data.sample import NO_BOX, UNKNOWN_BOX
from perception_training.losses.assign import assign, Assignment
from perception_training.losses.boxes import complete_iou, iou
from perception_training.losses.detection import detection_losses
from perception_training.models.anchors import anchors

CENTRES, STRIDES = anchors(96, 128, (8, 16, 32))
NOTHING = torch.full((1, len(CENTRES), 5), 0.01)
CONFIG = DetectionLossConfig(alpha=1.0)


def guess(size: float = 4.0) -> torch.Tensor:
    half = STRIDES * size / 2
    return torch.cat((CENTRES - half, CENTRES + half), 1)[None]


def assigned(boxes: torch.Tensor, truth: list[list[float]], labels: list[int],
             topk: int = 10) -> Assignment:
    config = CONFIG.model_copy(update={'topk': topk})
    found = assign(boxes, NOTHING, CENTRES, STRIDES, torch.tensor([truth]),
                   torch.tensor([labels]), config)
    return Assignment(*(values[0] for values in found))


@pytest.mark.parametrize('box', [
    pytest.param([20.0, 20, 70, 60], id='car'),
    pytest.param([57.1, 41.3, 60.2, 44.1], id='smaller-than-a-cell'),
    pytest.param([0.0, 0, 128, 96], id='fills-the-view'),
])
def test_every_box_finds_an_anchor(box: list[float]) -> None:
    """A box that nobody answers for is never learnt."""
    got = assigned(guess(), [box], [0])
    assert 1 <= got.positive.sum() <= 10
    assert (got.quality[~got.positive] == 0).all()


def test_the_better_of_two_boxes_gets_a_shared_anchor() -> None:
    """Two targets for one anchor would pull it into the middle of both."""
    truth = [[20.0, 20, 60, 60], [24.0, 24, 64, 64]]
    boxes = torch.tensor(truth[1]).expand(1, len(CENTRES), 4)
    got = assigned(boxes, truth, [0, 0], topk=len(CENTRES))  # both claim whatever lies in both
    shared = ((CENTRES > 25) & (CENTRES < 59)).all(1)
    assert got.positive[shared].all()
    assert (got.box[shared] == 1).all()


def test_unknown_regions_are_neither_positive_nor_background() -> None:
    """An unlabelled motorbike must not teach that motorbikes are background."""
    got = assigned(guess(), [[20.0, 20, 60, 60]], [UNKNOWN_BOX])
    assert not got.positive.any()
    assert torch.equal(got.ignored, ((CENTRES > 20) & (CENTRES < 60)).all(1))


def test_rows_that_fill_a_batch_up_are_nothing_at_all() -> None:
    got = assigned(guess(), [[20.0, 20, 60, 60], [0.0, 0, 0, 0]], [0, NO_BOX])
    alone = assigned(guess(), [[20.0, 20, 60, 60]], [0])
    assert all(torch.equal(a, b) for a, b in zip(got, alone, strict=True))


def test_quality_is_the_overlap_of_the_best_anchor() -> None:
    """A score shall say how well the box fits."""
    truth = [[16.0, 16, 48, 48]]
    got = assigned(guess(), truth, [1])
    best = float(iou(guess()[0], torch.tensor(truth)).max())
    assert got.quality.max() == pytest.approx(best, abs=1e-5)


def test_complete_iou_knows_direction_where_iou_is_zero() -> None:
    """Without it a box that misses its target would have no way to it."""
    truth = torch.tensor([0.0, 0, 10, 10])
    near = complete_iou(torch.tensor([12.0, 0, 22, 10]), truth)
    far = complete_iou(torch.tensor([40.0, 0, 50, 10]), truth)
    assert far < near < 0
    assert complete_iou(truth, truth) == pytest.approx(1, abs=1e-4)


def raw_of(images: int, objectness: bool) -> dict[str, torch.Tensor]:
    count = len(CENTRES)
    raw = {'boxes': guess().repeat(images, 1, 1), 'classes': torch.zeros(images, count, 5),
           'centres': CENTRES, 'strides': STRIDES}
    raw |= {'objectness': torch.zeros(images, count)} if objectness else {
        'distances': torch.zeros(images, count, 64)}
    for name in set(raw) - {'centres', 'strides'}:
        raw[name] = raw[name].clone().requires_grad_()
    return raw


@pytest.mark.parametrize('objectness', [True, False])
def test_an_image_without_labels_for_boxes_costs_and_teaches_nothing(objectness: bool) -> None:
    """CamVid's cars have no boxes: they are no background."""
    raw = raw_of(1, objectness)
    terms = detection_losses(raw, batch_of([street('a', (20, 30, 60, 80), boxes=False)]), CONFIG)
    total = sum(terms.values())
    assert total.item() == 0
    total.backward()
    assert all(raw[name].grad is not None for name in raw if name not in ('centres', 'strides'))


@pytest.mark.parametrize('objectness', [True, False])
def test_an_image_without_objects_teaches_background(objectness: bool) -> None:
    sample = street('a', (20, 30, 60, 80))
    terms = detection_losses(raw_of(1, objectness), batch_of([sample.with_boxes([], [])]), CONFIG)
    assert terms['objectness' if objectness else 'classes'].item() > 1
    assert terms['box'].item() == 0


def test_a_class_that_a_set_does_not_label_is_no_background_in_it() -> None:
    """IDD leaves out riders: their scores may be anything, those of cars may not."""
    sample = street('a', (20, 30, 60, 80)).with_boxes([], [])
    sample.labelled[1:] = False
    raw = raw_of(1, objectness=False)
    detection_losses(raw, batch_of([sample]), CONFIG)['classes'].backward()
    assert (raw['classes'].grad[..., 0] != 0).all()
    assert (raw['classes'].grad[..., 1:] == 0).all()


def test_distances_cost_least_where_the_distribution_is_right() -> None:
    sample = street('a', (32, 32, 64, 64))
    right, wrong = raw_of(1, objectness=False), raw_of(1, objectness=False)
    # At stride 8 the anchor (44, 44) lies 1.5, 1.5, 2.5, 2.5 strides from the sides.
    place = int(((torch.tensor([44.0, 44.0]) == CENTRES).all(1)).nonzero()[0])
    with torch.no_grad():
        for raw, bins in ((right, (1, 2)), (wrong, (7, 8))):
            raw['boxes'][0, place] = torch.tensor([32.0, 32, 64, 64])
            logits = raw['distances'][0, place].view(4, 16)
            logits[:2, list(bins)] = 9.0
            logits[2:, [b + 1 for b in bins]] = 9.0
    batch = batch_of([sample])
    good, bad = (detection_losses(raw, batch, CONFIG)['distances'].item()
                 for raw in (right, wrong))
    assert good < bad
