"""What a run must say of itself: code, machine, command."""

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib import metadata
import json
import os
from pathlib import Path
import platform
import subprocess
from typing import Any

import torch

from perception_training.config import Config, printed
from perception_training.data.readers import Source
from perception_training.errors import TrainingError


def start_record(config: Config, command: Sequence[str]) -> None:
    """Write `run.json` and `config.yaml` when a run begins; a resumption is noted."""
    path = config.run_dir / 'run.json'
    config.run_dir.mkdir(parents=True, exist_ok=True)
    (config.run_dir / 'config.yaml').write_text(printed(config), encoding='utf-8')
    record = describe(config, command)
    if path.exists():
        first = read_record(config.run_dir)
        keys = ('started', 'commit', 'clean', 'command')
        first.setdefault('resumed', []).append({key: record[key] for key in keys})
        record = first
    path.write_text(json.dumps(record, indent=2), encoding='utf-8')


def record_data(config: Config, sources: Sequence[Source], processes: int) -> None:
    """Write `data.json`: which images there are, and how many of them a step sees."""
    fit = config.fit
    rows = [{'name': source.name, 'images': len(source), 'share': settings.share}
            for source, settings in zip(sources, config.data.train, strict=True)]
    record = {'train': rows, 'images_per_step': fit.batch * fit.accumulate * processes}
    (config.run_dir / 'data.json').write_text(json.dumps(record, indent=2), encoding='utf-8')


def read_record(run_dir: Path) -> dict[str, Any]:
    """
    Read `run.json`.

    :raises TrainingError: nothing says how these weights were made, or the file is damaged.
    """
    path = run_dir / 'run.json'
    if not path.exists():
        raise TrainingError(f'expected {path}, which `perception_train fit` writes: without it '
                            'nobody knows how these weights were made')
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise TrainingError(f'{path}: expected JSON, it is damaged ({error}); put an older one '
                            'there, or start another run_dir') from error
    return record


def describe(config: Config, command: Sequence[str]) -> dict[str, Any]:
    """Collect commit, command, seed, machine and versions; no path and no name of a machine."""
    return {
        'started': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        'commit': commit(),
        'clean': _git('status', '--porcelain', '--', '.') == '',
        'command': list(command),
        'seed': config.seed,
        'processes': int(os.environ.get('WORLD_SIZE', 1)),
        'hardware': _hardware(config),
        'python': platform.python_version(),
        'torch': str(torch.__version__),
        'libraries': _versions(),
    }


def commit() -> str | None:
    """Give the commit of this code, where it lies in a repository."""
    return _git('rev-parse', 'HEAD')


def _versions() -> dict[str, str]:
    """Give the versions of what takes part in training and measuring, as far as it is there."""
    found = {}
    for name in ('numpy', 'torchvision', 'opencv-python-headless', 'onnx', 'onnxruntime',
                 'openvino', 'faster-coco-eval'):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _hardware(config: Config) -> str:
    threads = config.fit.threads or torch.get_num_threads()
    machine = f'{_processor()}, {os.cpu_count()} cores, {threads} threads'
    if config.fit.device == 'cpu' or not torch.cuda.is_available():
        return f'{machine}, no GPU'
    return f'{machine}, {torch.cuda.get_device_name()}'


def _git(*arguments: str) -> str | None:
    done = subprocess.run(['git', *arguments], cwd=Path(__file__).parents[2],
                          capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.machine()
