"""The linters, run as tests: style is part of what a change has to pass."""

from importlib.util import find_spec
from pathlib import Path
import subprocess
import sys

from mend_stubs import mend
import pytest

ROOT = Path(__file__).resolve().parents[1]
RUN_LOCKS = sorted((ROOT / 'requirements').glob('*.lock'))
ENVIRONMENT = Path(sys.prefix, 'pyvenv.cfg')
ON_DISTRIBUTION = not ENVIRONMENT.exists() or (
    'include-system-site-packages = true' in ENVIRONMENT.read_text(encoding='utf-8'))
TRAINING_LOCK = ROOT / 'training' / 'requirements.lock'


def run(*arguments: str) -> None:
    """Run a tool over the tree; its output is the failure."""
    done = subprocess.run(
        [sys.executable, '-m', *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f'\n{done.stdout}{done.stderr}'


def test_ruff() -> None:
    run('ruff', 'check', '--quiet', '--output-format', 'concise', '.')


@pytest.mark.slow
def test_types() -> None:
    if ON_DISTRIBUTION:
        pytest.skip('types are checked without a distribution')
    assert mend() is not None  # else nothing checks the TensorRT backend
    run('mypy', '--no-error-summary')


@pytest.mark.slow
def test_calls_of_tensorrt_are_checked_against_its_stubs(tmp_path: Path) -> None:
    """They cannot be run here: what TensorRT does not have must at least not pass for right."""
    if ON_DISTRIBUTION:
        pytest.skip('types are checked without a distribution')
    mend()
    (tmp_path / 'wrong.py').write_text('import tensorrt\ntensorrt.Builder.build_plan()\n')
    with pytest.raises(AssertionError, match='"type\\[Builder\\]" has no attribute "build_plan"'):
        run('mypy', str(tmp_path / 'wrong.py'))


def test_environment_holds_no_torch() -> None:
    """Only training uses torch: nothing that runs on a vehicle may come to need it."""
    found = find_spec('torch')
    # Below a distribution's environment lies the system, which may hold anything.
    assert found is None or not Path(str(found.origin)).is_relative_to(sys.prefix)
    assert not [lock.name for lock in RUN_LOCKS if 'torch==' in lock.read_text(encoding='utf-8')]


@pytest.mark.parametrize('lock', [*RUN_LOCKS, TRAINING_LOCK], ids=lambda lock: str(
    lock.relative_to(ROOT)))
def test_lock_is_hashed_and_names_no_index(lock: Path) -> None:
    """Whoever installs chooses the registry or a mirror; the hashes say what may come of it."""
    text = lock.read_text(encoding='utf-8').replace('\\\n', '')
    for line in text.splitlines():
        assert '==' in line.split(';')[0] and '--hash=sha256:' in line, line[:99]
        assert '://' not in line and '+' not in line.split(';')[0], line[:99]
