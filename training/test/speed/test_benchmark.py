"""The benchmark measures what a run does, and says where it waits."""

from pathlib import Path

from builders import make_config
import pytest
import torch

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
    def refuse(module: torch.nn.Module) -> torch.nn.Module:
        raise RuntimeError('InvalidCxxCompiler: no C++ compiler\nand a long explanation')

    monkeypatch.setattr(torch, 'compile', refuse)
    report = benchmark(make_config(tmp_path, **SMALL), 1, 0.0, ('compile',))
    failed = report.variants[1]
    assert failed.problem == 'InvalidCxxCompiler: no C++ compiler'
    assert failed.images_per_s is None and failed.gain is None


@pytest.mark.parametrize(('device', 'share', 'said'), [
    pytest.param('cuda:0, X', 0.95, 'At least 0.9 is met', id='gpu'),
    pytest.param('cuda:0, X', 0.6, 'At least 0.9 is MISSED', id='gpu-that-waits'),
    pytest.param('cpu, 2 threads', 0.6, 'share the cores', id='cpu')])
def test_it_says_whether_the_device_waits_for_data(
    device: str, share: float, said: str
) -> None:
    even = Spread.of([10.0])
    report = SpeedReport.model_construct(
        device=device, pipeline=even, step=even, together=Spread.of([share]))
    assert said in report.verdict


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"got \['fp8'\]"):
        benchmark(make_config(tmp_path), 1, 0.0, ('fp8',))
