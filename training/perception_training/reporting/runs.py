"""What a run left in its folder, as far as it is there; nothing here needs torch or the data."""

from collections.abc import Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import yaml

from perception_training.errors import TrainingError
from perception_training.fitting.log import METRICS, read_numbers
from perception_training.measuring.records import read_evaluations
from perception_training.reporting.compression import Compression, read_compressions

Json = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """A run, by its own records."""

    path: Path
    name: str
    config: Json
    """`config.yaml`; empty where it is missing, as all below."""
    record: Json
    """`run.json`"""
    data: Json
    """`data.json`"""
    numbers: Sequence[Json] = ()
    """Lines of `metrics.jsonl`."""
    evaluations: Sequence[Json] = ()
    """`evaluation/*.json`, the checkpoint first."""
    compressions: Sequence[Compression] = ()
    """`compression.json`"""
    benchmark: Any = field(default=None)
    """`benchmark.json`, whatever its rows are."""

    @property
    def losses(self) -> list[Json]:
        """The lines with losses."""
        return [entry for entry in self.numbers if 'loss' in entry]

    @property
    def measurements(self) -> list[Json]:
        """The lines with metrics, on the way and at the end."""
        return [entry for entry in self.numbers if 'metrics' in entry]

    @property
    def steps(self) -> int | None:
        """Steps that were done."""
        return max((int(entry['step']) for entry in self.numbers), default=None)

    @property
    def best_step(self) -> int | None:
        """The step that `best.pt` is from; None where nothing was measured on the way."""
        if not self.config.get('fit', {}).get('evaluate_every'):
            return None
        entries = [entry for entry in self.measurements if 'overall' in entry]
        best = max(entries, key=lambda entry: float(entry['overall']), default=None)
        return int(best['step']) if best else None

    @property
    def minutes(self) -> float | None:
        """Of training, without measuring."""
        losses = self.losses
        return losses[-1]['seconds'] / 60 if losses else None

    @property
    def images(self) -> int | None:
        """Training images of all sets: an epoch is so many images, whatever their shares."""
        rows = self.data.get('train', [])
        return sum(row['images'] for row in rows) or None

    @property
    def seconds_per_step(self) -> float | None:
        """Mean over the run after its first report, which waits for workers and compilers."""
        losses = self.losses
        if len(losses) < 2 or losses[-1]['step'] == losses[0]['step']:
            return None
        first, last = losses[0], losses[-1]
        return float((last['seconds'] - first['seconds']) / (last['step'] - first['step']))

    @property
    def seconds_per_epoch(self) -> float | None:
        """What as many images as the training sets hold take."""
        if self.seconds_per_step is None or self.images is None:
            return None
        return self.seconds_per_step * self.images / float(self.data['images_per_step'])

    @property
    def epochs(self) -> float | None:
        """How often the run has seen as many images as its sets hold."""
        if self.steps is None or self.images is None:
            return None
        return self.steps * float(self.data['images_per_step']) / self.images


def read_run(path: Path) -> RunFolder:
    """
    Read a run's folder.

    :raises TrainingError: there is nothing of a run in it, or a file of it is damaged.
    """
    found = RunFolder(
        path, path.resolve().name, _yaml(path / 'config.yaml'), _json(path / 'run.json', {}),
        _json(path / 'data.json', {}), _numbers(path), read_evaluations(path),
        read_compressions(path), _json(path / 'benchmark.json', None))
    if not (found.record or found.numbers or found.evaluations or found.compressions
            or found.benchmark):
        raise TrainingError(f'{path}: expected the run_dir of a run, with what `perception_train '
                            'fit` or `evaluate` writes; there is none of it')
    return found


def _numbers(path: Path) -> list[Json]:
    return read_numbers(path) if (path / METRICS).exists() else []


def _json(path: Path, otherwise: Any) -> Any:
    if not path.exists():
        return otherwise
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise TrainingError(f'{path}: expected JSON; {error}; remove it, or make it '
                            'again') from error


def _yaml(path: Path) -> Json:
    if not path.exists():
        return {}
    try:
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise TrainingError(f'{path} is not valid YAML: {" ".join(str(error).split())}') from error
    return found if isinstance(found, dict) else {}
