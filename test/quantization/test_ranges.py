"""Where int8 cuts a tensor."""

from __future__ import annotations

import numpy as np
import pytest

from perception_ros.bundles.graph.network import find_network
from perception_ros.quantization.ranges import limits, Magnitudes, measure
from perception_ros.quantization.sensitivity import errors_alone, within
from test.quantization.networks import network_model, patches


def magnitudes(values: np.ndarray) -> Magnitudes:
    found = Magnitudes()
    for part in np.array_split(values.astype(np.float32), 3):
        found.add(part)
    return found


def test_the_greatest_magnitude_is_exact() -> None:
    assert magnitudes(np.array([1.0, -3.7, 2.0])).greatest == pytest.approx(3.7)


def test_evenly_spread_values_are_not_cut() -> None:
    assert magnitudes(np.linspace(-2, 2, 10001)).limit() == pytest.approx(2, rel=0.02)


def test_an_outlier_is_worth_less_than_a_finer_step_for_a_million_others() -> None:
    values = np.random.default_rng(0).normal(size=1_000_000)
    values[0] = 10
    found = magnitudes(values)
    assert found.greatest == 10
    assert 3 < found.limit() < 7


def test_the_limit_is_the_best_of_many() -> None:
    """Against the error itself, computed value by value."""
    values = np.random.default_rng(1).laplace(size=20_000)
    found = magnitudes(values)

    def error(limit: float) -> float:
        step = limit / 127
        return float(((np.clip(np.round(values / step), -127, 127) * step - values) ** 2).sum())

    best = min(error(found.greatest * share) for share in np.linspace(0.2, 1, 81))
    assert error(found.limit()) <= best * 1.02


@pytest.mark.parametrize('values', [[0.0, 0.0], []], ids=['zeros', 'nothing'])
def test_silence_has_a_limit_of_zero(values: list[float]) -> None:
    assert magnitudes(np.array(values)).limit() == 0


def test_what_is_not_finite_is_seen() -> None:
    assert magnitudes(np.array([1.0, np.nan])).greatest == np.inf


def test_inner_tensors_are_measured_on_images() -> None:
    network = find_network(network_model(loud=50.0))
    images = [patches(seed)[0] for seed in range(2)]
    found = measure(network, ['b'], images)
    assert found['b'].greatest == pytest.approx(max(i[..., 0].max() for i in images) / 255 * 50)
    assert set(limits(network, images)) == {'pixels', 'b', 'c'}


def test_errors_show_which_layers_are_sensitive() -> None:
    """A loud channel leaves the others no steps: in the layers that read it, and only there."""
    network = find_network(network_model(loud=300.0))
    images = np.stack([patches(seed)[0] for seed in range(2)])
    errors = errors_alone(network, limits(network, images), images)
    assert errors['first'] < 1e-3
    assert errors['depthwise'] > 0.1
    assert errors['last'] > 0.1


@pytest.mark.parametrize(('budget', 'chosen'), [
    (0.0, set()), (0.01, {'a'}), (0.031, {'a', 'b'}), (9.0, {'a', 'b', 'c'}),
])
def test_as_many_layers_as_the_budget_allows(budget: float, chosen: set[str]) -> None:
    assert within({'c': 0.5, 'b': 0.02, 'a': 0.01}, budget) == chosen


def test_a_layer_that_breaks_the_network_is_never_within() -> None:
    assert within({'broken': float('nan')}, 1.0) == set()
