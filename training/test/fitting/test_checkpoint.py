"""A checkpoint is whole or not there, fits or is refused, and never runs."""

import errno
import os
from pathlib import Path
import pickle
import resource
import subprocess
import sys

from builders import ALONE, make_config, sources
import pytest
import torch

from perception_training.config import Config
from perception_training.errors import CheckpointError, TrainingError
from perception_training.fitting import checkpoint
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit, Look, restored
from perception_training.fitting.record import read_record
from perception_training.fitting.run import Run, Trained


class Bomb:
    """A pickle that runs code when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


@pytest.fixture
def saved(config: Config) -> Config:
    """Give a run that has a checkpoint."""
    config.run_dir.mkdir(parents=True)
    checkpoint.write(config.run_dir / 'last.pt', Run(config, ALONE).state(), config)
    return config


@pytest.mark.parametrize('plain', [True, False], ids=['pickle', 'torch'])
def test_a_pickle_is_refused_and_never_executed(config: Config, plain: bool) -> None:
    config.run_dir.mkdir()
    path, trace = config.run_dir / 'last.pt', config.run_dir / 'ran'
    if plain:
        path.write_bytes(pickle.dumps({'network': Bomb(trace)}))
    else:
        torch.save({'network': Bomb(trace)}, path)
    with pytest.raises(CheckpointError, match='nothing in it was executed'):
        fit(config, sources())
    assert not trace.exists()


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 half a file', b'some text'])
def test_a_damaged_file_is_named(config: Config, content: bytes) -> None:
    config.run_dir.mkdir()
    (config.run_dir / 'last.pt').write_bytes(content)
    with pytest.raises(CheckpointError, match=r'last.pt: '):
        restored(config)


def test_a_truncated_checkpoint_is_damaged(saved: Config) -> None:
    path = saved.run_dir / 'last.pt'
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(CheckpointError, match='a part of one'):
        restored(saved)


def test_tensors_of_something_else_are_no_checkpoint(config: Config) -> None:
    config.run_dir.mkdir()
    torch.save({'weight': torch.zeros(3)}, config.run_dir / 'last.pt')
    with pytest.raises(CheckpointError, match="expected a checkpoint of format 'perception_tr"):
        restored(config)


@pytest.mark.parametrize(('change', 'said'), [
    pytest.param({'model': {'name': 'yolo'}}, "model 'yolo', got one of 'roadscene'", id='model'),
    pytest.param({'labels__boxes': ('car', 'van')},
                 'labels.boxes: expected car, van, got car, person', id='classes'),
    pytest.param({'labels__semantic': {'scene': ('sky', 'road', 'car', 'pedestrian')}},
                 'labels.semantic.scene: expected sky', id='label-map'),
])
def test_a_checkpoint_of_another_network_is_refused(
    saved: Config, tmp_path: Path, change: dict, said: str
) -> None:
    with pytest.raises(CheckpointError, match=said):
        fit(make_config(tmp_path, **change), sources())


def test_a_checkpoint_holds_everything_to_resume(saved: Config) -> None:
    state, config = checkpoint.read(saved.run_dir / 'last.pt')
    assert config == saved
    assert set(state) == {'format', 'config', 'commit', 'network', 'average', 'variances',
                          'optimiser', 'scaler', 'step', 'seconds', 'best'}


FULL = """
import resource, signal, sys
from pathlib import Path
from builders import make_config, sources
from perception_training.fitting.loop import fit
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
fit(make_config(Path(sys.argv[1]), fit__steps=3, fit__save_every=1), sources())
"""


def test_a_disk_that_is_full_loses_nothing(saved: Config, tmp_path: Path) -> None:
    """No file may grow beyond a megabyte: what the kernel then says is what a full disk says."""
    path = saved.run_dir / 'last.pt'
    before = path.read_bytes()
    assert len(before) > 1_000_000
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, '-c', FULL, str(tmp_path)], capture_output=True, text=True, timeout=120,
        cwd=Path(__file__).parents[1])
    assert 'NOT SAVED at step 1' in done.stdout
    assert 'the older one there is whole; make room' in done.stderr
    assert path.read_bytes() == before
    assert [p.name for p in saved.run_dir.glob('*.part')] == []
    assert restored(saved).step == 0


def test_a_full_disk_ends_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The kernel refuses every byte that is written to /dev/full, as a disk without room does."""
    config = make_config(tmp_path, fit__steps=3, fit__evaluate_every=2)
    config.run_dir.mkdir()
    for name in ('log.txt', 'metrics.jsonl'):
        (config.run_dir / name).symlink_to('/dev/full')
    steps = []

    def measure(trained: Trained) -> Look:
        steps.append(trained.step)
        if trained.step == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return Look({}, 0.0, {})

    assert fit(config, sources(), measure).step == 3
    said = capsys.readouterr().out
    assert 'metrics.jsonl: No space left on device' in said
    assert 'NOT MEASURED at step 2: [Errno 28] No space left on device' in said
    assert steps == [2, 3]
    assert restored(config).step == 3


def test_numbers_around_a_line_that_was_cut_off_are_kept(config: Config) -> None:
    config.run_dir.mkdir()
    (config.run_dir / 'metrics.jsonl').write_text('{"step": 1}\n{"ste{"step": 3}\n{"step": 4}\n')
    assert [entry['step'] for entry in read_numbers(config.run_dir)] == [1, 4]


@pytest.mark.parametrize(('text', 'said'), [
    (None, 'nobody knows how these weights were made'), ('{"seed": ', 'run.json: expected JSON')],
    ids=['missing', 'damaged'])
def test_a_run_record_is_needed_whole(config: Config, text: str | None, said: str) -> None:
    config.run_dir.mkdir()
    if text is not None:
        (config.run_dir / 'run.json').write_text(text)
    with pytest.raises(TrainingError, match=said):
        read_record(config.run_dir)


def test_how_a_network_chooses_makes_no_other_network(tmp_path: Path) -> None:
    """Fewer proposals are tried with the weights that there are; narrower layers are not."""
    ours, chooses, narrower = (
        make_config(tmp_path, model={'name': 'mask_rcnn', **changes})
        for changes in ({}, {'proposals': 50, 'nms_iou': 0.6, 'detections': 9}, {'channels': 64}))
    checkpoint.require_same_network(tmp_path, ours, chooses)
    with pytest.raises(CheckpointError, match=r'model.channels: expected 64, got 256'):
        checkpoint.require_same_network(tmp_path, ours, narrower)
