"""Before and after: what making a network smaller cost, and what it gained."""

from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter, ValidationError

from perception_ros.bundles.manifest import problems
from perception_training.config.base import Settings
from perception_training.errors import TrainingError

FILE = 'compression.json'
SIZE_MB, PARAMETERS, LATENCY_MS = 'size_mb', 'parameters', 'latency_ms'
"""Figures that are no accuracy."""


class Compression(Settings):
    """One step that makes a network smaller."""

    name: str = Field(description='what was done, in a few words')
    kind: Literal['prune', 'quantise', 'distil']
    before: dict[str, float] = Field(
        description='size_mb, parameters and latency_ms where they are known, and any accuracy, '
        '0..1, by its name')
    after: dict[str, float] = Field(description='the same figures of what came of it')

    @property
    def accuracies(self) -> list[str]:
        """Names of what was measured on labelled images."""
        return [name for name in dict.fromkeys((*self.before, *self.after))
                if name not in (SIZE_MB, PARAMETERS, LATENCY_MS)]


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
