"""Weather changes pixels, as much as it is told to, and moves nothing."""

from pathlib import Path

from builders import make_config, sources, street
from hypothesis import given, settings, strategies
import numpy as np
import pytest
import torch

from perception_training.config.data import AugmentConfig, EffectConfig
from perception_training.data.colour import recolour
from perception_training.data.stream import Stream
from perception_training.data.weather import EFFECTS

SURE = EffectConfig(probability=1.0, strength=1.0)
each_effect = pytest.mark.parametrize('name', EFFECTS)


def edge(width: int = 96, height: int = 64) -> np.ndarray:
    """Dark on the left, light on the right, from column 40 on."""
    image = np.full((height, width, 3), 60, np.uint8)
    image[:, 40:] = 180
    return image


@each_effect
@settings(max_examples=20, deadline=None)
@given(seed=strategies.integers(0, 2**32 - 1), strength=strategies.floats(0.01, 1),
       width=strategies.integers(8, 150), height=strategies.integers(8, 120),
       level=strategies.integers(0, 255))
def test_any_image_stays_an_image_of_its_size(
    name: str, seed: int, strength: float, width: int, height: int, level: int
) -> None:
    image = np.full((height, width, 3), level, np.uint8)
    image[height // 2:] = 255 - level
    before = image.copy()
    with np.errstate(divide='raise', invalid='raise', over='raise'):
        changed = EFFECTS[name](image, np.random.default_rng(seed), strength)
    assert changed.shape == image.shape and changed.dtype == np.uint8
    np.testing.assert_array_equal(image, before)
    again = EFFECTS[name](image, np.random.default_rng(seed), strength)
    np.testing.assert_array_equal(changed, again)


@each_effect
@settings(max_examples=15, deadline=None)
@given(seed=strategies.integers(0, 2**32 - 1))
def test_an_edge_stays_where_it_is(name: str, seed: int) -> None:
    """Boxes and outlines are not told of weather: what it shifts would teach wrong borders."""
    changed = EFFECTS[name](edge(), np.random.default_rng(seed), 0.5).astype(float)
    steps = np.abs(np.diff(changed.mean(2).mean(0)))
    steps[:25], steps[55:] = 0, 0  # the rest of a sun or of drops is no edge
    middle = (steps * np.arange(1, len(steps) + 1)).sum() / steps.sum()
    assert abs(middle - 40) < (3 if name in ('rain', 'snow', 'night', 'low_sun') else 1.5)


@each_effect
def test_more_strength_changes_more(name: str) -> None:
    image = edge(320, 180)
    changes = [np.mean([np.abs(
        EFFECTS[name](image, np.random.default_rng(seed), strength).astype(float) - image).mean()
        for seed in range(4)]) for strength in (0.05, 0.4, 1.0)]
    assert changes[0] < 8
    assert changes[0] < changes[1] < changes[2]


def test_light_changes_as_the_names_say() -> None:
    """A street of grey values under a sky that is not yet white."""
    image = edge()
    image[:32] = 200
    rng = np.random.default_rng(3)
    changed = {name: effect(image, rng, 0.8).astype(float) for name, effect in EFFECTS.items()}
    assert changed['night'].mean() < 0.6 * image.mean()
    assert changed['rain'].mean() < image.mean()
    assert changed['fog'][40:].std() < 0.8 * image[40:].std()
    assert changed['low_sun'].max() == 255
    assert changed['low_sun'][..., 0].mean() > changed['low_sun'][..., 2].mean()
    assert changed['snow'].max() > 230 > image.max()


def test_labels_do_not_know_of_weather(tmp_path: Path) -> None:
    """Every effect on every image: boxes, outlines and label maps are those of none."""
    many = sources([street(str(i), (20, 30, 60 + i, 80)) for i in range(5)])
    lively = {'augment__scale_min': 0.5, 'augment__flip': 0.5, 'augment__mosaic': 0.5}
    clear = Stream(many, make_config(tmp_path, **lively))[3]
    stormy = Stream(many, make_config(
        tmp_path, **lively, **{f'augment__{name}': SURE for name in EFFECTS}))[3]
    assert not torch.equal(clear.images, stormy.images)
    for name in ('boxes', 'labels', 'labelled', 'masks', 'has_masks'):
        assert torch.equal(getattr(clear, name), getattr(stormy, name)), name
    assert torch.equal(clear.semantic['scene'], stormy.semantic['scene'])


@each_effect
def test_an_effect_comes_as_often_as_it_is_told_to(name: str) -> None:
    """Off it must cost nothing, not even a random number: old runs repeat."""
    still = AugmentConfig(colour=0, blur=0)
    image = edge()
    rng = np.random.default_rng(0)
    assert recolour(image, rng, still) is image
    assert rng.random() == np.random.default_rng(0).random()
    sometimes = still.model_copy(update={name: EffectConfig(probability=0.3)})
    rng = np.random.default_rng(0)
    changed = sum(recolour(image, rng, sometimes) is not image for _ in range(200))
    assert 40 < changed < 80
