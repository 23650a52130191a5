"""A view depends on its number alone, whoever draws it, and sources get their shares."""

from collections import Counter
from pathlib import Path

from builders import make_config, sources, street
from hypothesis import given, strategies
import pytest
import torch

from perception_training.data.readers import Kept
from perception_training.data.sample import Sample
from perception_training.data.stream import Draws, made_ahead, Share, Stream
from perception_training.errors import DataError

MANY = sources([street(str(i), (20, 30, 60 + i, 80)) for i in range(5)])
LIVELY = {'augment__scale_min': 0.5, 'augment__flip': 0.5, 'augment__colour': 1.0,
          'augment__mosaic': 0.5}


def test_a_resumed_run_sees_the_batches_that_it_would_have_seen(tmp_path: Path) -> None:
    config = make_config(tmp_path, **LIVELY)
    expected = Stream(MANY, config)[7]
    assert torch.equal(Stream(MANY, config, start=5)[2].images, expected.images)
    assert not torch.equal(Stream(MANY, config, start=5)[3].images, expected.images)


def test_two_processes_see_what_one_with_twice_the_batch_sees(tmp_path: Path) -> None:
    config = make_config(tmp_path, **LIVELY)
    twice = make_config(tmp_path, **LIVELY, fit__batch=4)
    one = Stream(MANY, twice)[3]
    halves = [Stream(MANY, config, Share(rank, 2))[3] for rank in (0, 1)]
    assert torch.equal(torch.cat([h.images for h in halves]), one.images)
    assert halves[0].names + halves[1].names == one.names


def test_accumulated_batches_are_those_of_a_larger_one(tmp_path: Path) -> None:
    config = make_config(tmp_path, **LIVELY, fit__accumulate=2)
    twice = make_config(tmp_path, **LIVELY, fit__batch=4)
    parts = Stream(MANY, config, start=2)
    whole = Stream(MANY, twice, start=2)[1]
    assert torch.equal(torch.cat((parts[2].images, parts[3].images)), whole.images)


@given(lengths=strategies.lists(strategies.integers(1, 9), min_size=1, max_size=4),
       data=strategies.data(), seed=strategies.integers(0, 99))
def test_every_image_is_drawn_once_in_each_pass(
    lengths: list[int], data: strategies.DataObject, seed: int
) -> None:
    shares = [data.draw(strategies.integers(1, 4)) for _ in lengths]
    draws = Draws(lengths, shares, seed)
    rounds = 12
    drawn = Counter(draws[k] for k in range(rounds * sum(shares)))
    for source, (length, share) in enumerate(zip(lengths, shares, strict=True)):
        counts = [drawn[source, image] for image in range(length)]
        assert sum(counts) == rounds * share
        assert max(counts) - min(counts) <= 1


def test_worker_processes_make_the_same_batches(tmp_path: Path) -> None:
    config = make_config(tmp_path, **LIVELY, fit__steps=3)
    parallel = make_config(tmp_path, **LIVELY, fit__steps=3, data__workers=2)
    expected = [b.images for b in made_ahead(Stream(MANY, config), config, pinned=False)]
    got = [b.images for b in made_ahead(Stream(MANY, parallel), parallel, pinned=False)]
    assert len(expected) == 3
    assert all(torch.equal(a, b) for a, b in zip(expected, got, strict=True))


class Broken(Kept):
    """An image that cannot be read."""

    def __getitem__(self, index: int) -> Sample:
        raise DataError('a.png: expected an image, got Error: 1')


def test_what_is_wrong_in_a_worker_is_said_as_everywhere(tmp_path: Path) -> None:
    """Torch puts the worker's traceback before it."""
    config = make_config(tmp_path, data__workers=1)
    with pytest.raises(DataError) as caught:
        next(made_ahead(Stream([Broken('broken', list(MANY[0]))], config), config, pinned=False))
    assert str(caught.value) == 'a.png: expected an image, got Error: 1'


def test_what_a_set_does_not_label_is_unknown_in_its_batches(tmp_path: Path) -> None:
    """CamVid beside IDD: neither may teach that the other's labels are background."""
    config = make_config(tmp_path)
    bare = [Kept('bare', [street('x', (20, 30, 60, 80), boxes=False)])]
    batch = Stream(bare, config)[0]
    assert not batch.labelled.any()
    assert batch.boxes.shape == (2, 0, 4)
    assert (batch.semantic['scene'] != 255).any()
    empty = [Kept('empty', [type(s)(s.name, s.image) for s in bare[0]])]
    assert (Stream(empty, config)[0].semantic['scene'] == 255).all()


@pytest.mark.parametrize('number', [0, 3])
def test_masks_lie_in_batches_at_a_quarter_of_the_size(tmp_path: Path, number: int) -> None:
    batch = Stream(MANY, make_config(tmp_path))[number]
    assert batch.masks.shape[2:] == (24, 32)
    assert batch.has_masks.all()
    cells = batch.masks[0, 0].sum() * 16
    x0, y0, x1, y1 = batch.boxes[0, 0].tolist()
    assert float(cells) == pytest.approx((x1 - x0) * (y1 - y0), rel=0.2)
