"""What a measurement leaves in `run_dir/evaluation`: numbers, curves, and the worst images."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
import json
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np

from perception_training.config import Config, printed
from perception_training.errors import TrainingError
from perception_training.measuring.evaluate import Case, Evaluation
from perception_training.measuring.pictures import colours_of, truth_and_answer
from perception_training.models import BOXES

FOLDER = 'evaluation'
QUALITY = 82


@dataclass(frozen=True)
class Measured:
    """What was measured, and on what."""

    engine: str
    """'checkpoint', or the name of a backend."""
    runtime: str
    """With its version."""
    device: str
    precision: str
    weights: str
    """File of the checkpoint, or the bundle and the beginning of its graph's SHA-256."""
    size_mb: float
    parameters: int | None = None
    step: int | None = None
    minutes: float | None = None


def write_evaluation(config: Config, measured: Measured, evaluation: Evaluation,
                     agreement: dict[str, Any] | None = None, pictures: bool = False) -> Path:
    """
    Write `<engine>.json`, and with `pictures` the worst images beside it.

    :param agreement: how far its answers lie from the checkpoint's; None: not compared.
    """
    folder = config.run_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if not (settings := config.run_dir / 'config.yaml').exists():
        # A bundle that was trained elsewhere has no run here: this says what it is.
        settings.write_text(printed(config), encoding='utf-8')
    seconds = [s for scores in evaluation.values() for s in scores.seconds]
    record = {
        **asdict(measured), 'when': datetime.now(timezone.utc).isoformat(timespec='seconds'),
        # The first answers warm up; the median does not mind them.
        'latency_ms': round(float(np.median(seconds)) * 1e3, 2) if seconds else None,
        'sets': {name: {'images': len(scores.seconds), 'of': scores.of,
                        'metrics': scores.metrics(), 'details': scores.details()}
                 for name, scores in evaluation.items()},
        'colours': _colours(config), 'agreement': agreement,
        'worst': [], 'examples': []}
    if pictures:
        record |= _pictures(config, measured.engine, evaluation, folder)
    path = folder / f'{measured.engine}.json'
    path.write_text(json.dumps(record, indent=1), encoding='utf-8')
    return path


def read_evaluations(run_dir: Path) -> list[dict[str, Any]]:
    """
    Read all that was measured: the checkpoint first, then engines by name.

    :raises TrainingError: a file is not what was written here.
    """
    found = []
    for path in sorted((run_dir / FOLDER).glob('*.json')):
        try:
            record = json.loads(path.read_text(encoding='utf-8'))
            found.append((record['engine'] != 'checkpoint', record['engine'], record))
        except (ValueError, KeyError, TypeError) as error:
            raise TrainingError(f'{path}: expected what `perception_train evaluate` writes; '
                                f'{error!r}; remove it, or measure again') from error
    return [record for _, _, record in sorted(found, key=lambda item: item[:2])]


def _colours(config: Config) -> dict[str, dict[str, Sequence[int]]]:
    heads = {BOXES: config.labels.boxes, **config.labels.semantic}
    return {head: dict(zip(names, colours_of(names), strict=True))
            for head, names in heads.items() if names}


def _pictures(config: Config, engine: str, evaluation: Evaluation,
              folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Draw the worst images of each set and head, and its first one with all heads."""
    for kind in ('worst', 'example'):
        for old in folder.glob(f'{kind}_{engine}_*.jpg'):
            old.unlink()
    worst, examples = [], []
    for name, scores in evaluation.items():
        if scores.first is not None:
            file = f'example_{engine}_{_plain(name)}.jpg'
            _draw(folder / file, config, scores.first, (BOXES, *config.labels.semantic))
            examples.append({'set': name, 'image': scores.first.sample.name, 'file': file})
        for head, cases in scores.cases().items():
            for place, case in enumerate(cases, 1):
                file = f'worst_{engine}_{_plain(name)}_{head}_{place}.jpg'
                _draw(folder / file, config, case, (head,))
                worst.append({
                    'set': name, 'head': head, 'image': case.sample.name, 'file': file,
                    'said': case.verdict.said, 'cost': round(case.verdict.cost, 4)})
    return {'worst': worst, 'examples': examples}


def _draw(path: Path, config: Config, case: Case, heads: Sequence[str]) -> None:
    picture = truth_and_answer(config, case.sample, case.guess, heads)
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR),
                [cv2.IMWRITE_JPEG_QUALITY, QUALITY])


def _plain(name: str) -> str:
    return re.sub(r'\W+', '_', name)
