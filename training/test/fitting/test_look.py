"""What is seen on the way: the best checkpoint, curves and pictures."""

from collections.abc import Iterator
from pathlib import Path

from builders import make_config, sources
import numpy as np
import pytest

from perception_training.config import Config
from perception_training.fitting import checkpoint
from perception_training.fitting.loop import fit, Look, restored
from perception_training.fitting.run import Trained

RED = np.full((6, 9, 3), (255, 0, 0), np.uint8)


def looks(*overall: float) -> Iterator[Look]:
    return iter(Look({'val': {'scene': {'miou': value}}}, value, {'val/a': RED})
                for value in overall)


def fitted(config: Config, *overall: float) -> list[int]:
    """Fit with these numbers as measurements; return the steps that were looked at."""
    given, seen = looks(*overall), []

    def look(trained: Trained) -> Look:
        seen.append(trained.step)
        return next(given)

    fit(config, sources(), look)
    return seen


def test_the_best_checkpoint_is_kept_beside_the_last_also_over_a_resumption(
    tmp_path: Path
) -> None:
    """Else the first measurement after it would replace better weights."""
    config = make_config(tmp_path, fit__steps=2, fit__evaluate_every=1)
    assert fitted(config, 0.2, 0.6) == [1, 2]
    longer = make_config(tmp_path, fit__steps=4, fit__evaluate_every=1)
    assert fitted(longer, 0.5, 0.4) == [3, 4]
    assert restored(longer, 'best.pt').step == 2
    assert restored(longer).step == 4
    assert checkpoint.read(config.run_dir / 'best.pt')[0]['best'] == 0.6


def test_without_looking_on_the_way_there_is_only_the_last(tmp_path: Path) -> None:
    config = make_config(tmp_path, fit__steps=2)
    fitted(config, 0.5)
    assert not (config.run_dir / 'best.pt').exists()


@pytest.mark.filterwarnings('default')
def test_tensorboard_shows_losses_metrics_and_pictures(tmp_path: Path) -> None:
    accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator', reason='no tensorboard')
    config = make_config(tmp_path, fit__steps=2, fit__evaluate_every=1, fit__tensorboard=True)
    fitted(config, 0.25, 0.5)
    events = accumulator.EventAccumulator(str(config.run_dir / 'tensorboard'))
    events.Reload()
    scalars = set(events.Tags()['scalars'])
    assert {'loss', 'boxes/box', 'scene/cross_entropy', 'lr', 'overall'} <= scalars
    miou = events.Scalars('metrics/val/scene/miou')
    assert [(item.step, item.value) for item in miou] == [(1, 0.25), (2, 0.5)]
    assert [item.step for item in events.Images('val/a')] == [1, 2]
    assert (events.Images('val/a')[0].width, events.Images('val/a')[0].height) == (9, 6)
