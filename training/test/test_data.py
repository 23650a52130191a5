"""Views move boxes and scene together, and the split holds."""

from pathlib import Path

from conftest import street
from hypothesis import given, settings, strategies
import numpy as np
import pytest

from perception_training.config import AugmentConfig, Config, load
from perception_training.data import (
    cut,
    drive_of,
    idd_names,
    mirror,
    random_view,
    UNKNOWN_BOX,
    UNKNOWN_SCENE,
    Views,
)

ROOT = Path(__file__).resolve().parents[2]


def _extent(mask: np.ndarray) -> list[int]:
    rows, columns = np.nonzero(mask)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@settings(max_examples=60, deadline=None)
@given(seed=strategies.integers(0, 10 ** 6))
def test_box_scene_and_image_stay_together(seed: int) -> None:
    """A box, its cells in the scene and its pixels must be moved by one and the same mapping."""
    sample = street('a', (40, 30, 90, 80))
    view = random_view(sample, np.random.default_rng(seed), AugmentConfig(
        crop_width=128, crop_height=96, scale_min=0.5, scale_max=2, colour=0), 1.0)
    red = (view.image[..., 0].astype(int) - view.image[..., 2]) > 95
    if len(view.boxes) == 0:
        assert red.sum() < 400
        return
    # Nearest neighbour and rounding of the window may each move an edge by one scaled pixel.
    np.testing.assert_allclose(_extent(view.scene == 8), view.boxes[0], atol=2.5)
    np.testing.assert_allclose(_extent(red), view.boxes[0], atol=2.5)


def test_outside_of_the_image_is_grey_and_unknown() -> None:
    """Padding must teach no class."""
    view = cut(street('a', (40, 30, 90, 80)), (-64, -48, 256, 192), 128, 96)
    assert (view.image[:20] == 114).all()
    assert (view.scene[:20] == UNKNOWN_SCENE).all()
    np.testing.assert_allclose(view.boxes[0], [52, 39, 77, 64], atol=0.01)


def test_a_sliver_of_a_box_is_unknown() -> None:
    """The edge of a car is neither a car of that size nor background."""
    view = cut(street('a', (40, 30, 90, 80)), (80, 0, 128, 96), 128, 96)
    assert view.labels.tolist() == [UNKNOWN_BOX]


def test_mirroring_twice_changes_nothing() -> None:
    sample = street('a', (40, 30, 90, 80))
    twice = mirror(mirror(sample))
    np.testing.assert_array_equal(twice.image, sample.image)
    np.testing.assert_array_equal(twice.scene, sample.scene)
    np.testing.assert_allclose(twice.boxes, sample.boxes)
    assert mirror(sample).boxes[0].tolist() == [38, 30, 88, 80]


def test_a_batch_depends_on_its_step_alone(config: Config) -> None:
    """A resumed run must see the batches that it would have seen."""
    augment = config.augment.model_copy(update={'scale_min': 0.5, 'flip': 0.5, 'colour': 1.0})
    config = config.model_copy(update={'augment': augment})
    sources = {'camvid': [street(str(i), (20, 30, 60 + i, 80)) for i in range(5)],
               'idd': [street('x', (50, 30, 90, 80), 2)], 'clip': []}
    expected, _ = Views(sources, config, 0)[7]
    got, _ = Views(sources, config, 5)[2]
    assert (expected == got).all()
    other, _ = Views(sources, config, 5)[3]
    assert (other != got).any()


@pytest.mark.parametrize(('name', 'date'), [
    pytest.param('frontFar__BLR-2018-03-22_17-39-26_2_frontFar__001158_r', '2018-03-22',
                 id='camera-and-ride'),
    pytest.param('highquality_16k__BLR-2018-06-19-06-21-44_part_18__1', '2018-06-19',
                 id='dashes-only'),
    pytest.param('highquality_16k__2018-05-31_11-21-58__2018-05-31_11-28-33-015902_leftImg8bit',
                 '2018-05-31', id='start-and-frame-of-one-day'),
])
def test_a_drive_is_a_recording_date(name: str, date: str) -> None:
    assert drive_of(name) == date


@pytest.mark.parametrize('name', ['image_0001', '2018-05-31_a_2018-06-01'])
def test_a_name_without_one_date_is_refused(name: str) -> None:
    """Guessing a drive could put one ride on both sides."""
    with pytest.raises(ValueError, match='one recording date'):
        drive_of(name)


def test_no_held_out_drive_is_trained_on(shared: Path) -> None:
    """Frames of one drive look alike: on both sides they would make the numbers too good."""
    config = load(ROOT / 'training/configs/roadscene.yaml', [
        f'data_root={shared}', 'run_dir=unused',
        f'idd_val_drives={ROOT / "training/splits/idd_val_drives.txt"}'])
    train, val = idd_names(config, held_out=False), idd_names(config, held_out=True)
    assert len(train) + len(val) == 250
    assert 0.2 < len(val) / 250 < 0.25
    assert not {drive_of(n) for n in train} & {drive_of(n) for n in val}
