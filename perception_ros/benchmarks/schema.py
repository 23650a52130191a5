"""Prints the JSON Schema of `bench engine --json`, published as `docs/benchmark.schema.json`."""

from __future__ import annotations

import json
from typing import Any

from perception_ros.benchmarks.report import EngineReport


def json_schema() -> dict[str, Any]:
    """Return the schema; it follows from the models that validate a report."""
    schema = EngineReport.model_json_schema(mode='serialization')
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **schema}


if __name__ == '__main__':
    print(json.dumps(json_schema(), indent=2))
