"""What a benchmark writes as JSON: the declaration behind the file, its JSON Schema and the page.

Each member of the family (`engine` is the first) has a report of its own on top of `Report`, so
that every figure comes with the machine and the command that made it.
"""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.statistics import Latency, Spread
from perception_ros.bundles.manifest import Precision
from perception_ros.core.errors import BenchmarkError
from perception_ros.core.machine import load_average


class Strict(BaseModel):
    """A frozen model that knows all of its keys."""

    model_config = ConfigDict(frozen=True, extra='forbid', allow_inf_nan=False)


class Report(Strict):
    """What every benchmark states."""

    schema_version: Literal[1] = 1
    command: str = Field(description='That made this report')
    measured: str = Field(description='When it began, ISO 8601, UTC')
    environment: Environment
    load_average_after: float = Field(description='Of the last minute, its own load included')
    warnings: tuple[str, ...] = Field(description='What makes the figures doubtful')

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a report's file.

        :raises BenchmarkError: it cannot be read, or is none.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise BenchmarkError(f'{path}: cannot be read; {error.strerror}') from error
        except ValidationError as error:
            first = error.errors()[0]
            where = '.'.join(str(part) for part in first['loc'])
            raise BenchmarkError(
                f'{path}: expected a report of this benchmark; {where}: {first["msg"]}. Measure '
                'anew'
            ) from error


class Occasion:
    """When and on what it is measured, from the beginning on: what every report has to state."""

    def __init__(self, command: str) -> None:
        self._command = command
        self._environment, self._begun = Environment.here(), datetime.now(timezone.utc)

    def facts(self, *doubts: str) -> dict[str, Any]:
        """Return the fields of `Report`, once all is measured.

        :param doubts: warnings, besides those of the environment.
        """
        return {
            'command': self._command,
            'measured': self._begun.isoformat(timespec='seconds'),
            'environment': self._environment,
            'load_average_after': round(load_average(), 2),
            'warnings': (*self._environment.warnings(), *doubts),
        }


class BackendState(Strict):
    """A backend of this package, and whether it works on this machine."""

    name: str
    found: str | None = Field(description='What it is, with its version')
    reason: str | None = Field(description='Why it does not work; null: it does')


class BundleFacts(Strict):
    """A bundle that was measured."""

    name: str
    model: str = Field(description='The same for all precisions of one model')
    precision: Precision
    sha256: str = Field(description='Of its graph')
    bytes: int = Field(description='Of its graph')
    input: tuple[int, int] = Field(description='Width and height, px')


class EngineFacts(Strict):
    """What an engine says it really is."""

    backend: str
    device: str
    precision: str


class Difference(Strict):
    """The largest difference of an engine's answers from ONNX Runtime's, FP32 on the CPU.

    Boxes of one class are paired by overlap; what lies in the padding around the image is left
    out, and so are scores below 0.01, where the best N of equals are a matter of rounding.
    """

    images: int
    box_px: float | None = Field(description='Of a side, in input pixels; null: no boxes')
    score: float | None = Field(description='Of the same boxes; null: no boxes')
    boxes: int = Field(description='Of the reference, at the threshold that the bundle names')
    lost: int = Field(description='Of these, without a partner')
    gained: int = Field(description='Others above the threshold, without a partner')
    mask_share: float | None = Field(
        description='Pixels of the semantic masks that differ, 0..1; null: no masks'
    )


class EngineRow(Strict):
    """One bundle in one backend at one batch, in a process of its own."""

    bundle: str
    backend: str = Field(description='As asked for: NAME or NAME@DEVICE')
    batch: int
    problem: str | None = Field(description='Why there are no figures; null: there are')
    engine: EngineFacts | None = None
    open_s: float | None = Field(default=None, description='Opening the bundle, and one warm-up')
    latency_ms: Latency | None = Field(
        default=None, description='One call of the engine after the other'
    )
    images_per_s: Spread | None = Field(
        default=None, description='Both slots of the engine kept busy; one sample a round'
    )
    latency_ratio: Spread | None = Field(
        default=None, description="The reference's median latency / this one's, round by round"
    )
    images_ratio: Spread | None = Field(
        default=None, description="This one's images/s / the reference's, round by round"
    )
    precision_ratio: Spread | None = Field(
        default=None,
        description="images/s / those of the model's FP32 bundle in the same backend; null: this "
        'is that one, or there is none',
    )
    peak_memory_bytes: int | None = Field(
        default=None, description='Resident, of the whole process with Python and runtime'
    )
    device_memory_bytes: int | None = Field(default=None, description='null: no GPU says so')
    difference: Difference | None = Field(
        default=None, description='null: this is the reference, or there is none'
    )


class AccuracyRow(Strict):
    """One bundle in one backend on labelled data."""

    bundle: str
    backend: str
    batch: int = Field(description='With which the engine was opened')
    dataset: str
    images: int | None = None
    problem: str | None = Field(description='Why there are no figures; null: there are')
    figures: dict[str, float | None] = Field(
        default_factory=dict, description='map50 and map of boxes, miou of masks'
    )


class EngineSettings(Strict):
    """How it was measured."""

    rounds: int = Field(description='In each, every engine has its turn')
    seconds: float = Field(description='Of a turn: so long kept busy, and so long call by call')
    images: int = Field(description='Real images, letterboxed, in the input')
    threads: int = Field(description="CPU threads of a call; 0: the runtime's choice")
    performance_hint: str


class EngineReport(Report):
    """What `perception_ros bench engine --json` writes."""

    benchmark: Literal['engine'] = 'engine'
    settings: EngineSettings
    reference: str = Field(description='The backend that all is compared with, at FP32')
    backends: tuple[BackendState, ...]
    bundles: tuple[BundleFacts, ...]
    rows: tuple[EngineRow, ...]
    accuracy: tuple[AccuracyRow, ...]

    def bundle(self, name: str) -> BundleFacts:
        """Return what is said of the bundle of a row."""
        return next(item for item in self.bundles if item.name == name)

    def is_reference(self, row: EngineRow) -> bool:
        """Say whether this is what the others are compared with."""
        return row.backend == self.reference and self.bundle(row.bundle).precision == 'fp32'

    @property
    def models(self) -> tuple[str, ...]:
        """Models in the order of their bundles."""
        return tuple(dict.fromkeys(item.model for item in self.bundles))

    def rows_of(self, model: str) -> list[EngineRow]:
        """Return the rows of all bundles of a model."""
        return [row for row in self.rows if self.bundle(row.bundle).model == model]
