"""The largest batch that fits is found where memory really ends."""

from pathlib import Path
import subprocess
import sys

from builders import make_config
import pytest

from perception_training.speed.batch_size import _next_size, find_batch, MEASURED_ON_CPU

SMALL = {'augment__width': 32, 'augment__height': 32, 'fit__batch': 1}

LIMITED = """
import re, resource, sys
from pathlib import Path
from builders import make_config
import torch
from perception_training.speed.batch_size import find_batch
from test_batch_size import SMALL

# A step before the limit: libraries that it loads are no part of what is measured.
network = torch.nn.Conv2d(3, 8, 3)
network(torch.zeros(1, 3, 64, 64)).sum().backward()
torch.optim.AdamW(network.parameters()).step()
held = int(re.search(r'VmSize:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) * 1024
limit = held + int(sys.argv[2]) * 2 ** 20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
large = {'augment__width': 512, 'augment__height': 512}
found = find_batch(make_config(Path(sys.argv[1]), **{**SMALL, **large}), say=print)
print(found.tried, found.largest, found.batch)
"""


def test_what_an_image_needs_is_measured_and_counted(tmp_path: Path) -> None:
    found = find_batch(make_config(tmp_path, **SMALL))
    assert [trial.batch for trial in found.trials] == [1, 2, 4, MEASURED_ON_CPU]
    assert all(trial.fits for trial in found.trials)
    assert not found.tried
    each = (found.trials[-1].peak_bytes - found.trials[0].peak_bytes) / (MEASURED_ON_CPU - 1)
    assert found.batch < found.largest <= MEASURED_ON_CPU + found.total_bytes / max(each, 1)
    assert not list((tmp_path / 'run').iterdir())  # nothing was trained


@pytest.mark.slow
@pytest.mark.parametrize(('megabytes', 'least', 'most'), [(900, 1, 7), (60, 0, 0)])
def test_memory_that_ends_is_found_by_trial(
    tmp_path: Path, megabytes: int, least: int, most: int
) -> None:
    """The kernel refuses what is beyond a limit, as a device does."""
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(tmp_path), str(megabytes)], capture_output=True,
        text=True, timeout=500, cwd=here, env={'PYTHONPATH': f'{here.parent}:{here.parents[1]}',
                                               'OMP_NUM_THREADS': '1'})
    if most == 0:
        assert 'TrainingError: out of memory with a batch of one' in done.stderr
        return
    assert done.returncode == 0, done.stderr
    *trials, result = done.stdout.splitlines()
    tried, largest, _ = result.split()
    assert tried == 'True' and least <= int(largest) <= most
    assert any('out of memory' in trial for trial in trials)


@pytest.mark.parametrize(('limit', 'found'), [(1, 1), (5, 5), (64, 64), (100, 100), (1000, 960)])
def test_the_search_ends_close_below_the_limit(limit: int, found: int) -> None:
    fits, too_large, size = 0, None, 1
    while fits < size:
        if size <= limit:
            fits = size
        else:
            too_large = size
        size = _next_size(fits, too_large, 4096)
    assert limit * 15 / 16 - 1 <= fits <= limit
    assert fits >= found * 0.9
