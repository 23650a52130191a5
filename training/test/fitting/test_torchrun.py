"""Several processes learn what one would, and a killed one costs nothing."""

from pathlib import Path
import subprocess
import sys

from builders import make_config, sources, street
import pytest
import torch

from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit, restored

MANY = [street(str(i), (20 + 6 * i, 40, 60 + 6 * i, 72), label=i % 3) for i in range(8)]
STEPS, KILLED_AT = 8, 5
SETTINGS = {'fit__steps': STEPS, 'fit__save_every': 2, 'fit__sync_bn': True, 'seed': 3,
            'augment__flip': 0.5, 'fit__optimiser': {'name': 'sgd', 'lr': 1e-2}}

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
from builders import make_config
from perception_training.data.readers import Kept
from perception_training.fitting.loop import fit
from test_torchrun import KILLED_AT, MANY, SETTINGS

folder, rank = Path(sys.argv[1]), os.environ['RANK']
config = make_config(folder, **SETTINGS)
killed = folder / 'killed'


class Deadly(Kept):
    drawn = 0

    def __getitem__(self, index):
        self.drawn += 1
        if rank == '1' and self.drawn > KILLED_AT * config.fit.batch and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


run = fit(config, [Deadly('streets', MANY)])
torch.save(run.network.state_dict(), folder / f'rank_{rank}.pt')
"""


def test_two_processes_one_of_which_dies_end_where_one_with_twice_the_batch_does(
    tmp_path: Path
) -> None:
    """Same images, same statistics of normalisation, same gradients, through a restart."""
    here = Path(__file__).parent
    program = tmp_path / 'program.py'
    program.write_text(f'import sys\nsys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]\n'
                       + PROGRAM)
    agent = subprocess.Popen(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2',
         '--max-restarts=1', str(program), str(tmp_path)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        _, said = agent.communicate(timeout=540)
    finally:
        agent.terminate()  # it takes its processes with it
    assert agent.returncode == 0, said[-3000:]
    assert f'resumed at step {KILLED_AT - 1}' in (tmp_path / 'run/log.txt').read_text()
    ranks = [torch.load(tmp_path / f'rank_{r}.pt', weights_only=True) for r in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(ranks[0].values(), ranks[1].values(),
                                                 strict=True))

    alone = make_config(tmp_path / 'alone', **SETTINGS, fit__batch=4)
    fit(alone, sources(MANY))
    expected, got = ([entry['loss'] for entry in read_numbers(folder)]
                     for folder in (alone.run_dir, tmp_path / 'run'))
    assert len(got) == STEPS
    assert got == pytest.approx(expected, rel=1e-3)
    two, one = (restored(c).network.state_dict() for c in (
        make_config(tmp_path, **SETTINGS), alone))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-2, atol=1e-4, msg=name)
