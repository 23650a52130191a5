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
from test.backends.tensorrt.converted import converted
from test.bundles.shared import twinlitenet, yolox

ROOT = Path(__file__).parents[3]

SHIPPED: dict[str, Callable[[], Bundle]] = {
    path.parent.name: partial(Bundle.load, path.parent)
    for path in sorted((ROOT / 'engines').glob('*/bundle.yaml'))
}
BUNDLES = {**SHIPPED, 'yolox_nano': yolox, 'twinlitenet': twinlitenet}
FP32 = ['roadscene', 'yolox_nano', 'twinlitenet']


@pytest.mark.slow
@pytest.mark.parametrize('name', BUNDLES)
def test_it_builds_in_the_precision_of_its_manifest(
    store: EngineStore, library: Library, name: str
) -> None:
    bundle = BUNDLES[name]()
    plan = plan_for(bundle, EngineOptions(), library, store=store)
    assert plan.precision == bundle.manifest.precision
    assert plan.layers['convolution']
    assert plan.was_built and plan.path is not None


@pytest.mark.slow
@pytest.mark.parametrize('precision', ['fp16', 'int8'])
@pytest.mark.parametrize('name', FP32)
def test_it_builds_with_its_convolutions_in_another_precision(
    tmp_path: Path, store: EngineStore, library: Library, name: str, precision: str
) -> None:
    """With whatever stands between them in the real graphs: suppression, attention, resizing."""
    bundle = converted(BUNDLES[name](), tmp_path, precision)
    plan = plan_for(bundle, EngineOptions(), library, store=store)
    assert plan.precision == precision
    assert set(plan.layers['convolution']) == {precision}
    assert plan.shares[precision] > 0.85
