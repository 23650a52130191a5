"""The batch script of Slurm on one machine that stands for two; all but Slurm itself is real."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

from perception_training.config import load
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import restored

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / 'training/launch/slurm.sh'
CONFIG = ROOT / 'training/configs/shapes.yaml'
SETTINGS = ('fit.steps=6', 'fit.batch=2', 'fit.log_every=1', 'fit.save_every=2', 'fit.device=cpu',
            'fit.threads=1', 'data.val=[]', 'data.workers=0', 'augment.width=64',
            'augment.height=64', 'fit.schedule.name=constant')

# As Slurm does it: the command once on each machine, and signals handed on to all of them.
SRUN = """#!/usr/bin/env bash
tasks=()
for node in 0 1; do
  SLURM_NODEID=$node SLURMD_NODENAME=localhost setsid "$@" & tasks+=($!)
done
trap 'for task in "${tasks[@]}"; do kill -TERM "$task"; done' TERM
status=0
for task in "${tasks[@]}"; do
  wait "$task" || status=$?
  # A trap ends a wait before the task does.
  while kill -0 "$task" 2>/dev/null; do wait "$task" || status=$?; done
done
exit $status
"""
SCONTROL = """#!/usr/bin/env bash
case "$1" in
show) printf 'localhost\\nlocalhost\\n' ;;
requeue) echo "$2" > "$REQUEUED" ;;
esac
"""


def submit(folder: Path, job: int, *words: str) -> subprocess.Popen[str]:
    """Run the script as the first machine of a job would."""
    programs = folder / 'bin'
    programs.mkdir(exist_ok=True)
    for name, text in (('srun', SRUN), ('scontrol', SCONTROL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    machine = {
        'PATH': f'{programs}:{os.environ["PATH"]}', 'REQUEUED': str(folder / 'requeued'),
        'TRAIN_PYTHON': sys.executable, 'SLURM_JOB_ID': str(job), 'SLURM_JOB_NUM_NODES': '2',
        'SLURM_JOB_NODELIST': 'localhost', 'SLURM_CPUS_PER_TASK': '1', 'OMP_NUM_THREADS': '1'}
    return subprocess.Popen(
        ['bash', str(SCRIPT), '--config', str(CONFIG), f'run_dir={folder / "run"}', *SETTINGS,
         *words], cwd=ROOT, env={**os.environ, **machine}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True)


@pytest.mark.slow
def test_a_job_whose_time_is_over_is_queued_again_and_goes_on(tmp_path: Path) -> None:
    job = submit(tmp_path, os.getpid(), 'fit.steps=1000000')
    numbers = tmp_path / 'run/metrics.jsonl'
    while job.poll() is None and not (numbers.exists() and numbers.read_text()):
        time.sleep(0.2)
    os.kill(job.pid, signal.SIGUSR1)  # the script, and it alone
    said, _ = job.communicate(timeout=200)
    assert job.returncode == 0, said
    assert (tmp_path / 'requeued').read_text() == f'{os.getpid()}\n'
    words = [f'run_dir={tmp_path / "run"}', *SETTINGS]
    step = restored(load(CONFIG, words)).step
    assert f'SIGTERM ended the run after step {step}' in said
    assert [e['step'] for e in read_numbers(tmp_path / 'run')][-1] == step

    again = submit(tmp_path, os.getpid(), f'fit.steps={step + 2}')
    said, _ = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert f'resumed at step {step}' in (tmp_path / 'run/log.txt').read_text()
    steps = [e['step'] for e in read_numbers(tmp_path / 'run') if 'loss' in e]
    assert steps == [*range(1, step + 3)]


def test_the_script_is_one() -> None:
    subprocess.run(['bash', '-n', str(SCRIPT)], check=True)
