"""The linters, run as tests: style is part of what a change has to pass."""

from importlib.util import find_spec
from pathlib import Path
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*arguments: str) -> None:
    """Run a tool over the tree; its output is the failure."""
    done = subprocess.run(
        [sys.executable, '-m', *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f'\n{done.stdout}{done.stderr}'


def test_ruff() -> None:
    run('ruff', 'check', '--quiet', '--output-format', 'concise', '.')


@pytest.mark.slow
def test_types() -> None:
    run('mypy', '--no-error-summary')


def test_environment_holds_no_torch() -> None:
    """Only training uses torch: nothing that runs on a vehicle may come to need it."""
    assert find_spec('torch') is None
    locks = sorted((ROOT / 'requirements').glob('*.lock'))
    assert locks
    for lock in locks:
        assert 'torch==' not in lock.read_text(encoding='utf-8'), lock


def test_locks_name_no_index() -> None:
    """Whoever installs chooses the registry or its mirror; the hashes say what may come of it."""
    for lock in [*sorted(ROOT.glob('**/*requirements*/*.lock')), ROOT / 'training' / 'requirements.lock']:
        if lock.exists():
            text = lock.read_text(encoding='utf-8')
            assert '://' not in text and '--index' not in text, lock
            assert ' @ ' not in text, f'{lock} pins a file of one machine'
