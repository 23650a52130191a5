"""Prints the JSON Schema of `bench ... --json`, published as `docs/benchmark.schema.json`.

One schema for all reports; `benchmark` says which of them a file is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from perception_ros.benchmarks.fusion.report import FusionReport
from perception_ros.benchmarks.live.reports import (
    FusionLiveReport,
    IngestReport,
    OverloadReport,
    PipelineReport,
    SoakReport,
    TransportReport,
)
from perception_ros.benchmarks.report import EngineReport, Report
from perception_ros.benchmarks.scheduling.report import SchedulerReport

AnyReport = Annotated[
    EngineReport | PipelineReport | TransportReport | IngestReport | OverloadReport | SoakReport
    | FusionLiveReport | SchedulerReport | FusionReport,
    Field(discriminator='benchmark'),
]
"""What `bench ... --json` writes."""


_REPORTS: tuple[type[Report], ...] = (
    EngineReport, PipelineReport, TransportReport, IngestReport, OverloadReport, SoakReport,
    FusionLiveReport, SchedulerReport, FusionReport,
)


def read_report(path: Path) -> Report:
    """Read the file of any report.

    :raises BenchmarkError: it cannot be read, or is none.
    """
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        content = None  # whoever reads it below says what is wrong
    name = content.get('benchmark') if isinstance(content, dict) else None
    kinds = {kind.model_fields['benchmark'].default: kind for kind in _REPORTS}
    return kinds.get(name, EngineReport).read(path)


def json_schema() -> dict[str, Any]:
    """Return the schema; it follows from the models that validate a report."""
    schema = TypeAdapter(AnyReport).json_schema(mode='serialization')
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **schema}


if __name__ == '__main__':
    print(json.dumps(json_schema(), indent=2))
