"""Counts over all processes, and of one while the others wait."""

import pytest
import torch

from perception_training.losses import everywhere


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let this process be one of two that have the same; say what they were asked."""
    asked: list[float] = []

    def both(total: torch.Tensor) -> None:
        asked.append(float(total))
        total.mul_(2)

    monkeypatch.setattr(everywhere.distributed, 'is_initialized', lambda: True)
    monkeypatch.setattr(everywhere.distributed, 'get_world_size', lambda: 2)
    monkeypatch.setattr(everywhere.distributed, 'all_reduce', both)
    return asked


def test_a_count_is_the_mean_of_all_processes(two: list[float]) -> None:
    assert everywhere.mean_count(torch.tensor(6.0)) == 6
    assert everywhere.mean_count(torch.tensor(0.0)) == 0.5  # at least one for all together
    assert two == [6, 0]


def test_alone_nobody_is_asked_even_after_an_error(two: list[float]) -> None:
    """What the first process prepares, such as gradients to prune by, the others wait for."""
    with pytest.raises(KeyError), everywhere.alone():
        assert everywhere.processes() == 1
        assert everywhere.mean_count(torch.tensor(6.0)) == 6
        raise KeyError
    assert two == []
    assert everywhere.processes() == 2
