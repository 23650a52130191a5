"""Prints the JSON Schema of `bundle.yaml`, published as `docs/bundle.schema.json`."""

from __future__ import annotations

import json
from typing import Any

from perception_ros.bundles.manifest import Manifest


def json_schema() -> dict[str, Any]:
    """Return the schema; it follows from the models that validate a manifest."""
    schema = Manifest.model_json_schema()
    return {'$schema': 'https://json-schema.org/draft/2020-12/schema', **schema}


if __name__ == '__main__':
    print(json.dumps(json_schema(), indent=2))
