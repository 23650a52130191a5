"""What a run must say of itself: code, machine, command."""

from datetime import datetime, timezone
import json
import os
from pathlib import Path
import platform
import subprocess
from typing import Any

import torch

from perception_training.config import Config


def start_record(config: Config, command: list[str]) -> None:
    """Write `run_dir/run.json` when a run begins; a resumption is noted in it."""
    path = config.run_dir / 'run.json'
    config.run_dir.mkdir(parents=True, exist_ok=True)
    record = describe(config, command)
    if path.exists():
        first = json.loads(path.read_text())
        keys = ('started', 'commit', 'clean', 'command')
        first.setdefault('resumed', []).append({key: record[key] for key in keys})
        record = first
    path.write_text(json.dumps(record, indent=2))


def read_record(run_dir: Path) -> dict[str, Any]:
    """
    Read `run.json`.

    :raises FileNotFoundError: nothing says how these weights were made.
    """
    path = run_dir / 'run.json'
    if not path.exists():
        raise FileNotFoundError(f'expected {path}, which `perception_train fit` writes')
    return json.loads(path.read_text())


def describe(config: Config, command: list[str]) -> dict[str, Any]:
    """Collect commit, command, seed, machine and versions; no path and no name of a machine."""
    return {
        'started': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'commit': _git('rev-parse', 'HEAD'),
        'clean': _git('status', '--porcelain', '--', '.') == '',
        'command': command,
        'seed': config.seed,
        'hardware': f'{_processor()}, {os.cpu_count()} cores, {config.threads} threads, no GPU',
        'python': platform.python_version(),
        'torch': str(torch.__version__),
    }


def _git(*arguments: str) -> str | None:
    done = subprocess.run(['git', *arguments], cwd=Path(__file__).parents[1],
                          capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
