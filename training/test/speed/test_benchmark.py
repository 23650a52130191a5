"""The benchmark measures what a run does, and says where it waits."""

from pathlib import Path

from builders import make_config
import pytest

from perception_ros.benchmarks.statistics import Spread
from perception_training.errors import TrainingError
from perception_training.speed.benchmark import benchmark, write
from perception_training.speed.report import SpeedReport

SMALL = {'augment__width': 64, 'augment__height': 64, 'data__workers': 1}


def test_it_measures_data_steps_and_both_beside_each_setting(tmp_path: Path) -> None:
    turns: list[str] = []
    config = make_config(tmp_path, **SMALL)
    report = benchmark(config, 2, 0.0, ('channels-last',), turns.append)
    sides = ['pipeline', 'step', 'both', 'plain', 'channels-last']
    assert turns == [*sides, *sides[1:], sides[0]]  # none is always the first
    for name in ('pipeline', 'step', 'both'):
        assert getattr(report, name).samples == 2
        assert getattr(report, name).median > 0
    assert report.both.median <= 1.2 * report.step.p90
    assert [v.name for v in report.variants] == ['plain', 'channels-last']
    assert report.variants[1].gain is not None
    assert report.images == 64
    assert report.epoch_minutes == pytest.approx(64 / report.both.median / 60, abs=1e-3)
    path = write(report, config.run_dir)
    assert SpeedReport.model_validate_json(path.read_text()) == report
    assert [p.name for p in config.run_dir.iterdir()] == ['benchmark.json']  # nothing was trained


def test_a_setting_that_does_not_run_costs_only_its_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a machine without a compiler says it, which torch.compile needs."""
    monkeypatch.setenv('CXX', '/nowhere/c++')
    monkeypatch.setenv('TORCHINDUCTOR_FORCE_DISABLE_CACHES', '1')
    config = make_config(tmp_path, **SMALL, labels__boxes=(), fit__batch=1,
                         model={'name': 'unet', 'encoder': 'mobilenet_v2'}, loss__heads={})
    report = benchmark(config, 1, 0.0, ('compile',))
    failed = report.variants[1]
    assert failed.images_per_s is None and failed.gain is None
    assert failed.problem


@pytest.mark.parametrize(('device', 'share', 'said'), [
    pytest.param('cuda:0, X', 0.95, 'At least 0.9 is met', id='gpu'),
    pytest.param('cuda:0, X', 0.6, 'At least 0.9 is MISSED', id='gpu-that-waits'),
    pytest.param('cpu, 2 threads', 0.6, 'share the cores', id='cpu')])
def test_it_says_whether_the_device_waits_for_data(
    tmp_path: Path, device: str, share: float, said: str
) -> None:
    report = benchmark(make_config(tmp_path, **SMALL), 1, 0.0, ())
    spread = Spread.of([share])
    changed = report.model_copy(update={'device': device, 'together': spread})
    assert said in changed.verdict


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"got \['fp8'\]"):
        benchmark(make_config(tmp_path), 1, 0.0, ('fp8',))
