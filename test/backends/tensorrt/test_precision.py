"""A plan's precision is what the parsed network computes in, and no manifest can say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from perception_ros.backends import EngineOptions
from perception_ros.backends.store import EngineStore
from perception_ros.backends.tensorrt.library import Library
from perception_ros.backends.tensorrt.plans import plan_for
from perception_ros.backends.tensorrt.precision import check_precision
from perception_ros.core.errors import BackendError
from test.backends.tensorrt.networks import write_network


@pytest.mark.parametrize('precision', ['fp32', 'fp16', 'int8'])
def test_a_plan_says_what_its_convolutions_compute_in(
    tmp_path: Path, store: EngineStore, library: Library, precision: str
) -> None:
    bundle = write_network(tmp_path / 'network', precision)
    plan = plan_for(bundle, EngineOptions(max_batch=2), library, store=store)
    assert plan.precision == precision
    assert plan.shares == {precision: 1.0}
    assert plan.layers['convolution'] == {precision: 2}


@pytest.mark.parametrize(
    ('graph', 'claims', 'got'),
    [
        ('fp32', 'fp16', '100.0% in fp32'),
        ('fp32', 'int8', '100.0% in fp32'),
        ('fp16', 'fp32', '100.0% in fp16'),
        ('int8', 'fp32', '100.0% in int8'),
        ('int8 weights', 'int8', '100.0% in fp32'),
    ],
)
def test_a_silent_fp32_engine_is_impossible(
    tmp_path: Path, store: EngineStore, library: Library, graph: str, claims: str, got: str
) -> None:
    bundle = write_network(tmp_path / 'network', graph, claims=claims)
    with pytest.raises(BackendError, match=f'in {claims}, as bundle.yaml says; .*{got}'):
        plan_for(bundle, EngineOptions(max_batch=1), library, store=store)
    assert store.entries() == []


@pytest.mark.parametrize(
    ('claimed', 'shares', 'accepted'),
    [
        ('fp32', {'fp32': 1.0}, True),
        ('fp32', {'fp32': 0.999, 'fp16': 0.001}, False),
        ('fp16', {'fp16': 0.98, 'fp32': 0.02}, True),
        ('fp16', {'fp32': 0.6, 'fp16': 0.4}, False),
        ('int8', {'int8': 0.5, 'fp16': 0.3, 'fp32': 0.2}, True),
        ('int8', {'fp16': 0.9, 'int8': 0.1}, False),
    ],
    ids=[
        'all fp32', 'a little half', 'decoding in fp32', 'mostly fp32', 'sensitive layers spared',
        'mostly half',
    ],
)
def test_most_of_the_work_must_be_in_the_precision_claimed(
    claimed: str, shares: Mapping[str, float], accepted: bool
) -> None:
    if accepted:
        assert check_precision(claimed, shares, 'x') == claimed
    else:
        with pytest.raises(BackendError):
            check_precision(claimed, shares, 'x')
