"""Views move pixels, boxes, outlines and label maps together."""

from builders import CAR, make_config, sources, street
from hypothesis import given, settings, strategies
import numpy as np
import pytest

from perception_training.config.data import AugmentConfig
from perception_training.data.colour import recolour
from perception_training.data.geometry import cut, mirror, mosaic
from perception_training.data.sample import UNKNOWN, UNKNOWN_BOX
from perception_training.data.stream import Stream

CAR_BOX = (40, 30, 90, 80)


def extent(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@settings(max_examples=60, deadline=None)
@given(left=strategies.integers(-60, 90), top=strategies.integers(-50, 60),
       width=strategies.integers(40, 260), height=strategies.integers(40, 200),
       mirrored=strategies.booleans())
def test_all_that_is_known_of_an_image_moves_alike(
    left: int, top: int, width: int, height: int, mirrored: bool
) -> None:
    """A box, its outline, its cells in the scene and its pixels must have one mapping."""
    view = cut(street('a', CAR_BOX), (left, top, width, height), 128, 96)
    view = mirror(view) if mirrored else view
    red = (view.image[..., 0].astype(int) - view.image[..., 2]) > 95
    if len(view.boxes) == 0:
        assert red.sum() < 400
        return
    # Nearest neighbour and rounding of the window may each move an edge by one scaled pixel.
    slack = 1.5 + max(128 / width, 96 / height)
    np.testing.assert_allclose(extent(view.semantic['scene'] == CAR), view.boxes[0], atol=slack)
    np.testing.assert_allclose(extent(red), view.boxes[0], atol=slack)
    assert view.masks is not None
    assert ((view.masks[0] == 1) == (view.semantic['scene'] == CAR)).all()


@settings(max_examples=40, deadline=None)
@given(seed=strategies.integers(0, 2**31), mosaic=strategies.sampled_from([0.0, 1.0]))
def test_all_that_is_known_moves_alike_through_a_whole_view(
    tmp_path_factory: pytest.TempPathFactory, seed: int, mosaic: float
) -> None:
    """As a run makes them: scale, window, mirror image, and four of these in one."""
    config = make_config(tmp_path_factory.getbasetemp(), seed=seed, augment__scale_min=0.5,
                         augment__scale_max=2.0, augment__flip=0.5, augment__mosaic=mosaic)
    batch = Stream(sources([street('a', CAR_BOX)]), config)[0]
    for i in range(len(batch.names)):
        cells = batch.masks[i].numpy()
        scene = batch.semantic['scene'][i].numpy() == CAR
        red = (batch.images[i, ..., 0].int() - batch.images[i, ..., 2].int()).numpy() > 95
        # Masks lie in batches at a quarter of the size: the middle of each cell.
        assert (cells.any(0) == scene[2::4, 2::4]).all()
        assert (red == scene).mean() > 0.97
        for box, label, mask in zip(batch.boxes[i], batch.labels[i], cells, strict=True):
            if int(label) == 0:
                np.testing.assert_allclose(np.array(extent(mask)) * 4, box, atol=5)


def test_outside_of_the_image_is_grey_and_unknown() -> None:
    """Padding must teach no class."""
    view = cut(street('a', CAR_BOX), (-64, -48, 256, 192), 128, 96)
    assert (view.image[:20] == 114).all()
    assert (view.semantic['scene'][:20] == UNKNOWN).all()
    np.testing.assert_allclose(view.boxes[0], [52, 39, 77, 64], atol=0.01)


def test_a_sliver_of_a_box_is_unknown() -> None:
    """The edge of a car is neither a car of that size nor background."""
    view = cut(street('a', CAR_BOX), (80, 0, 128, 96), 128, 96)
    assert view.labels.tolist() == [UNKNOWN_BOX]


def test_mirroring_twice_changes_nothing() -> None:
    sample = street('a', CAR_BOX)
    twice = mirror(mirror(sample))
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.semantic['scene'], sample.semantic['scene'])
    np.testing.assert_array_equal(twice.masks, sample.masks)
    np.testing.assert_allclose(twice.boxes, sample.boxes)
    assert mirror(sample).boxes[0].tolist() == [38, 30, 88, 80]


def test_a_mosaic_shows_four_views_where_their_labels_are() -> None:
    views = [street(str(i), CAR_BOX, label=i) for i in range(4)]
    whole = mosaic(views)
    assert whole.labels.tolist() == [0, 1, 2, 3]
    assert whole.image.shape == views[0].image.shape
    assert whole.masks is not None
    for box, mask in zip(whole.boxes, whole.masks, strict=True):
        np.testing.assert_allclose(extent(mask), box, atol=1)
    assert whole.boxes[3].tolist() == [84, 63, 109, 88]


def test_a_mosaic_knows_only_what_all_its_views_know() -> None:
    """One unlabelled quarter would teach that its cars are background."""
    views = [street(str(i), CAR_BOX) for i in range(3)]
    bare = street('bare', CAR_BOX, boxes=False)
    bare = type(bare)(bare.name, bare.image, labelled=np.zeros(5, bool))
    whole = mosaic([*views, bare])
    assert not whole.labelled.any()
    assert whole.semantic == {}
    assert whole.masks is None


def test_colours_change_within_limits_and_only_where_asked() -> None:
    sample = street('a', CAR_BOX)
    still = AugmentConfig(colour=0, blur=0, noise=0)
    rng = np.random.default_rng(0)
    assert recolour(sample.image, rng, still) is sample.image
    loud = AugmentConfig(colour=1, blur=1, noise=20)
    changed = recolour(sample.image, rng, loud)
    assert changed.dtype == np.uint8 and changed.shape == sample.image.shape
    assert (changed != sample.image).mean() > 0.5
