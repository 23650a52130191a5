"""Before and after: what making a network smaller cost, and what it gained."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from perception_ros.bundles.manifest import problems
from perception_training.config.base import Settings
from perception_training.errors import TrainingError

FILE = 'compression.json'


class State(Settings):
    """A network, measured; what was not measured is left out."""

    accuracy: dict[str, float] = Field(
        default_factory=dict, description='name of a metric, such as "camvid val scene miou" -> '
        'its value, 0..1')
    size_mb: float | None = Field(None, gt=0, description='of its file')
    parameters: int | None = Field(None, ge=0)
    latency_ms: float | None = Field(None, gt=0, description='median of an image')


class Compression(Settings):
    """One step that makes a network smaller."""

    name: str = Field(description='what was done, in a few words')
    kind: Literal['prune', 'quantise', 'distil']
    before: State
    after: State


def add_compression(run_dir: Path, item: Compression) -> None:
    """Add a record, or replace that of the same name."""
    others = [old for old in read_compressions(run_dir) if old.name != item.name]
    rows = [record.model_dump(exclude_defaults=True) for record in (*others, item)]
    (run_dir / FILE).write_text(json.dumps(rows, indent=2), encoding='utf-8')


def read_compressions(run_dir: Path) -> tuple[Compression, ...]:
    """
    Read `run_dir/compression.json`, where there is one.

    :raises TrainingError: it is damaged, naming each wrong key.
    """
    path = run_dir / FILE
    if not path.exists():
        return ()
    adapter = TypeAdapter(tuple[Compression, ...])
    try:
        return adapter.validate_json(path.read_bytes())
    except ValidationError as error:
        raise TrainingError(f'{path}: ' + '; '.join(problems(error))) from error
