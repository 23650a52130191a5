"""A mistyped setting stops the run instead of being ignored."""

from pathlib import Path

from pydantic import ValidationError
import pytest

from perception_training.config import load

SHIPPED = Path(__file__).resolve().parents[1] / 'configs/roadscene.yaml'


def test_overrides_reach_nested_keys() -> None:
    config = load(SHIPPED, ['optim.steps=12', 'start_from=null'])
    assert config.optim.steps == 12
    assert config.start_from is None


@pytest.mark.parametrize('override', ['optim.step=12', 'learning_rate=1', 'optim.steps=many'])
def test_unknown_and_mistyped_keys_are_refused(override: str) -> None:
    with pytest.raises(ValidationError, match=override.partition('=')[0].split('.')[-1]):
        load(SHIPPED, [override])


def test_an_override_without_a_value_is_refused() -> None:
    with pytest.raises(ValueError, match='key=value'):
        load(SHIPPED, ['optim.steps'])
