"""A machine that is lost takes nothing with it, and may come back."""

import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time

from builders import make_config
import pytest

from perception_training.config import Config
from perception_training.fitting import distributed
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit

STEPS, LOST_AT = 8, 5

PROGRAM = """
import os, signal, sys
from pathlib import Path
from test_machines import config_of, LOST_AT
from perception_training.data.readers import open_source
from perception_training.fitting.loop import fit

config, lost = config_of(Path(sys.argv[1])), Path(sys.argv[1]) / 'lost'
streets = open_source(config.data.train[0], config.labels, config.data.root)
streets.drawn = 0


class Lost(type(streets)):
    def __getitem__(self, index):
        self.drawn += 1
        if os.environ['RANK'] == '1' and self.drawn > LOST_AT * config.fit.batch:
            if not lost.exists():
                lost.touch()
                os.kill(os.getppid(), signal.SIGKILL)
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


streets.__class__ = Lost
fit(config, [streets])
"""


def config_of(folder: Path, **changes: object) -> Config:
    return make_config(folder, **{
        'fit__steps': STEPS, 'fit__save_every': 2, 'fit__sync_bn': True, 'augment__flip': 0.5,
        'fit__optimiser': {'name': 'sgd', 'lr': 1e-2}, **changes})


@pytest.mark.slow
def test_a_machine_that_is_lost_and_comes_back_costs_nothing(tmp_path: Path) -> None:
    """Two agents of torchrun stand for two machines; one dies with all that runs on it."""
    here = Path(__file__).parent
    program = tmp_path / 'program.py'
    program.write_text(f'import sys\nsys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]\n'
                       + PROGRAM)
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]

    said = (tmp_path / 'said.txt').open('w+')

    def machine() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, '-m', 'torch.distributed.run', '--nnodes=2', '--nproc-per-node=1',
             '--max-restarts=3', '--rdzv-backend=c10d', f'--rdzv-endpoint=localhost:{port}',
             '--rdzv-id=test', '--local-addr=localhost', str(program), str(tmp_path)],
            stdout=said, stderr=said, env={**os.environ, distributed.OWN_STORE: '1'})

    machines = [machine()]
    try:
        time.sleep(1)  # it is the one where the others meet
        machines.append(machine())
        assert machines[1].wait(timeout=300) == -signal.SIGKILL
        machines.append(machine())
        assert [each.wait(timeout=300) for each in machines] == [0, -signal.SIGKILL, 0]
    finally:
        for each in machines:
            each.terminate()
        said.seek(0)
        print(said.read()[-3000:])
        said.close()
    assert f'resumed at step {LOST_AT - 1}' in (tmp_path / 'run/log.txt').read_text()

    alone = config_of(tmp_path / 'alone', fit__batch=4)
    fit(alone)
    expected, got = ([entry['loss'] for entry in read_numbers(folder)]
                     for folder in (alone.run_dir, tmp_path / 'run'))
    assert len(got) == STEPS
    assert got == pytest.approx(expected, rel=1e-3)


def test_a_launch_that_would_lock_machines_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    started = {'GROUP_WORLD_SIZE': '2', 'TORCHELASTIC_MAX_RESTARTS': '3'}
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'True')
    assert f'start torchrun with {distributed.OWN_STORE}=1' in str(distributed.warning())
    monkeypatch.setenv('TORCHELASTIC_USE_AGENT_STORE', 'False')
    assert distributed.warning() is None
