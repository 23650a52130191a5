"""Every bundle that is shipped, and two that are imported, through the real builder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from perception_ros.backends import EngineOptions
from perception_ros.backends.store import EngineStore
from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.plans import plan_for
from perception_ros.bundles import Bundle
from test.bundles.shared import twinlitenet, yolox

ROOT = Path(__file__).parents[3]

BUNDLES: dict[str, Callable[[], Bundle]] = {
    **{
        path.parent.name: partial(Bundle.load, path.parent)
        for path in sorted((ROOT / 'engines').glob('*/bundle.yaml'))
    },
    'yolox_nano': yolox,
    'twinlitenet': twinlitenet,
}


@pytest.mark.slow
@pytest.mark.parametrize('name', BUNDLES)
def test_it_builds_in_the_precision_of_its_manifest(
    store: EngineStore, library: Library, name: str
) -> None:
    bundle = BUNDLES[name]()
    plan = plan_for(bundle, EngineOptions(max_batch=8), library, store=store)
    assert plan.precision == bundle.manifest.precision
    assert plan.was_built and plan.path is not None
    assert plan.layers['convolution']
    assert not plan_for(bundle, EngineOptions(max_batch=8), library, store=store).was_built
