"""`prune`, `quantise` and `distil`, from a run to a smaller one that is trained and compared."""

import json
from pathlib import Path
import subprocess
from typing import Any

from builders import make_config
import pytest

from perception_training.compressing.commands import distil_run, prune_run, quantise_run
from perception_training.compressing.compare import accuracies, record
from perception_training.config import Config
from perception_training.delivering.bundle import make_bundle
from perception_training.errors import CheckpointError, TrainingError
from perception_training.fitting import checkpoint
from perception_training.fitting.loop import fit, Look, restored
from perception_training.fitting.record import start_record
from perception_training.measuring.evaluate import evaluate
from perception_training.measuring.predict import network_predictor
from perception_training.reporting.compression import Compression, read_compressions

pytestmark = pytest.mark.filterwarnings('default')
ROOT = Path(__file__).resolve().parents[3]
COMMAND = ['perception_train', 'prune']
CLASSES = ('sky', 'road', 'car', 'person')
TUNE = {'steps': 120, 'lr': 1e-3, 'warmup': 10}


def quiet(config: Config) -> Any:
    return lambda trained: Look({}, 0.0, {})


def drawn(folder: Path, **changes: Any) -> Config:
    """Give a run that learns label maps of drawn streets."""
    settings = {
        'width': 96, 'height': 64, 'augment__width': 96, 'augment__height': 64,
        'labels__boxes': (), 'labels__semantic': {'scene': CLASSES},
        'data__train': [{'reader': 'shapes', 'count': 64, 'width': 96, 'height': 64,
                         'cache': True}],
        'data__val': [{'reader': 'shapes', 'count': 16, 'width': 96, 'height': 64, 'seed': 1}],
        'loss': {}, 'fit__steps': 160, 'fit__batch': 8, 'fit__ema': 0.98,
        'fit__optimiser': {'lr': 3e-3}, 'bundle__semantic_stride': 4,
        'prune__tune': {**TUNE, 'steps': 300, 'lr': 3e-3}, 'quantise__tune': {**TUNE, 'lr': 3e-4}}
    return make_config(folder, **{**settings, **changes})


def miou(config: Config) -> float:
    network = restored(config).network
    return accuracies(evaluate(config, network_predictor(network, config)))['miou']


@pytest.fixture(scope='module')
def base(tmp_path_factory: pytest.TempPathFactory) -> Config:
    """Give a trained run."""
    config = drawn(tmp_path_factory.mktemp('base'))
    start_record(config, ['perception_train', 'fit'])
    fit(config)
    assert miou(config) > 0.7
    return config


@pytest.mark.slow
def test_half_of_the_channels_lose_two_points_at_most(base: Config, tmp_path: Path) -> None:
    ours = prune_run(base, COMMAND, quiet)
    entry = next(e for e in read_compressions(base.run_dir) if e.kind == 'prune')
    print(entry)
    assert entry.after['miou'] > entry.before['miou'] - 0.02
    assert entry.after['parameters'] < 0.3 * entry.before['parameters']
    assert entry.after['size_mb'] < 0.45 * entry.before['size_mb']
    assert entry.before['miou'] == pytest.approx(miou(base), abs=0.005)
    # It is a run like any other: its settings and its folder are enough.
    again = drawn(base.run_dir.parent, run_dir=ours.run_dir)
    assert miou(again) == pytest.approx(entry.after['miou'], abs=0.005)
    bundle = make_bundle(again, tmp_path / 'half')
    assert '300 steps' in bundle.card_path.read_text()


@pytest.mark.slow
def test_int8_in_training_is_as_good_as_after_it(base: Config) -> None:
    ours = quantise_run(base, ['perception_train', 'quantise'], quiet)
    after, during = (e for e in read_compressions(base.run_dir) if e.kind == 'quantise')
    print(after, during)
    assert during.after['miou'] >= after.after['miou']
    assert during.after['size_mb'] < 0.5 * during.before['size_mb']
    assert during.after['parameters'] == during.before['parameters']
    build_with_tensorrt(ours.run_dir / 'bundle/after')
    with pytest.raises(TrainingError, match='got one that rounds to int8'):
        quantise_run(ours, COMMAND, quiet)
    with pytest.raises(TrainingError, match='expected an fp32 network'):
        prune_run(ours, COMMAND, quiet)


def build_with_tensorrt(bundle: Path) -> None:
    """Let the builder of TensorRT-RTX take a bundle; it is in the other environment."""
    python = ROOT / '.venv/bin/python'
    if not python.exists():
        pytest.skip('no .venv: TensorRT-RTX is in the environment of `make setup`')
    done = subprocess.run(
        [python, '-c', 'from perception_ros.cli.main import main; main()', 'build', bundle,
         '--backend', 'tensorrt_rtx', '--json'], capture_output=True, text=True, timeout=600,
        env={'PYTHONPATH': str(ROOT), 'XDG_CACHE_HOME': str(bundle.parent / 'cache')})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)['built'][0]['precision'] == 'int8'


@pytest.mark.slow
def test_a_student_learns_from_what_it_has_no_labels_for(base: Config, tmp_path: Path) -> None:
    """With no label but the teacher's word it must come near to it."""
    student = drawn(
        tmp_path, fit__steps=120, loss__semantic={'scene': {'cross_entropy': 1e-9}},
        distil={'teacher': base.run_dir / 'last.pt'})
    distil_run(student, ['perception_train', 'distil'], quiet)
    entry, = read_compressions(student.run_dir)
    print(entry)
    assert entry.kind == 'distil'
    assert entry.after['miou'] > entry.before['miou'] - 0.1


@pytest.mark.slow
def test_a_bundle_is_a_teacher_too(base: Config, tmp_path: Path) -> None:
    bundle = make_bundle(base, tmp_path / 'teacher')
    student = drawn(
        tmp_path, fit__steps=120, loss__semantic={'scene': {'cross_entropy': 1e-9}},
        distil={'teacher': bundle.path})
    distil_run(student, ['perception_train', 'distil'], quiet)
    entry, = read_compressions(student.run_dir)
    print(entry)
    assert entry.name == 'teacher as the teacher'
    assert entry.after['miou'] > entry.before['miou'] - 0.1


def test_distil_needs_a_teacher(config: Config) -> None:
    with pytest.raises(TrainingError, match='expected a section distil with a teacher'):
        distil_run(config, COMMAND, quiet)


def test_there_must_be_a_network_to_make_smaller(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match='expected a checkpoint, there is none'):
        prune_run(drawn(tmp_path), COMMAND, quiet)


def test_a_bundle_is_no_network_to_make_smaller(tmp_path: Path) -> None:
    """It is a teacher at most; `perception_ros quantize` is for bundles."""
    (tmp_path / 'bundle').mkdir()
    config = drawn(tmp_path, fit__start={'checkpoint': tmp_path / 'bundle'})
    with pytest.raises(CheckpointError, match='bundle: expected a checkpoint'):
        quantise_run(config, COMMAND, quiet)


def test_another_share_does_not_go_on_with_the_old_one(tmp_path: Path) -> None:
    """A resumed run would say one share and have another."""
    config = drawn(tmp_path, prune__share=0.25)
    start = config.run_dir / 'prune/start.pt'
    start.parent.mkdir(parents=True)
    checkpoint.write(start, {'average': {}}, drawn(tmp_path))
    with pytest.raises(TrainingError, match=r'start.pt: .*share=0\.25.*remove .*prune'):
        prune_run(config, COMMAND, quiet)


def test_what_cannot_be_compared_is_not_begun(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match='expected sets to measure on'):
        prune_run(drawn(tmp_path, data__val=[]), COMMAND, quiet)


def test_a_record_replaces_what_has_its_name(tmp_path: Path) -> None:
    def entry(name: str, value: float) -> Compression:
        return Compression(name=name, kind='prune', before={'miou': 0.6}, after={'miou': value})

    record(tmp_path, [entry('half', 0.5)])
    record(tmp_path, [entry('third', 0.4)])
    record(tmp_path, [entry('half', 0.59)])
    found = {e.name: e.after['miou'] for e in read_compressions(tmp_path)}
    assert found == {'third': 0.4, 'half': 0.59}
