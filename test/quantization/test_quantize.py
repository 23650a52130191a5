"""The whole way: images, candidates, gate, and what is written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from perception_ros.bundles import Bundle
from perception_ros.core.errors import BundleError, DatasetError, QuantizationError
from perception_ros.evaluation import open_dataset
from perception_ros.quantization import Gate, Outcome, quantize, Request
from perception_ros.quantization.quantize import LowPrecision
from perception_ros.quantization.record import doubts, speeds
from test.quantization.networks import untracked, write_colours, write_labelled, write_pictures

LOUD = 300.0
"""Int8 has no steps left for the channels that matter."""


def run(
    tmp_path: Path, precision: LowPrecision, loud: float = 1.0, labelled: bool = True,
    **changes: Any,
) -> Outcome:
    bundle = write_colours(tmp_path / 'colours', loud)
    pictures = write_pictures(tmp_path / 'pictures', 6)
    changes = {'rounds': 0, **changes}
    data = [open_dataset(f'camvid:{write_labelled(tmp_path / "data")}')] if labelled else []
    request = Request(
        bundle, tmp_path / 'lower', precision, (pictures,), Gate(tuple(data)), **changes
    )
    return quantize(request, lambda sentence: None, untracked)


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_a_bundle_that_is_good_enough_is_written(tmp_path: Path, precision: LowPrecision) -> None:
    outcome = run(tmp_path, precision)
    assert not outcome.problems and not outcome.candidate.kept
    bundle = Bundle.load(tmp_path / 'lower')
    manifest = bundle.manifest
    assert (manifest.name, manifest.precision, manifest.kept_fp32) == ('lower', precision, ())
    found: dict[str, Any] = manifest.provenance.metrics
    title = f'camvid:{tmp_path / "data"}'
    assert found['fp32'] == {'accuracy': {title: {'miou': 1.0}}}
    assert isinstance(found[precision], dict)
    assert found[precision]['accuracy'] == {title: outcome.after[0].figures}
    assert found[precision]['layers'] == 3
    card = bundle.card_path.read_text()
    assert card.startswith('# colours') and '| mIoU ground | 1.000 |' in card
    assert bundle.graph_path.stat().st_size == outcome.bytes_after


def test_the_plain_recipe_is_refused_by_the_gate_and_nothing_written(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'int8', LOUD, spare=False)
    (problem,) = outcome.problems
    assert problem.startswith('miou on camvid:') and 'expected a drop of at most 0.010' in problem
    assert not (tmp_path / 'lower').exists()
    assert {path.name for path in tmp_path.iterdir()} == {'colours', 'pictures', 'data'}


def test_sensitive_layers_stay_fp32_and_are_named(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'int8', LOUD)
    assert not outcome.problems
    bundle = Bundle.load(tmp_path / 'lower')
    assert bundle.manifest.kept_fp32 == ('depthwise', 'last')
    assert 'In fp32 stay depthwise, last: each alone' in bundle.card_path.read_text()
    stored = {item.name for item in onnx.load(str(bundle.graph_path)).graph.initializer}
    assert 'first.weight/q' in stored and 'last.weight' in stored


def test_values_that_fp16_cannot_hold_stay_fp32(tmp_path: Path) -> None:
    """Runtimes on a CPU hide it: the values of fp32 on real images show it."""
    outcome = run(tmp_path, 'fp16', 1e5)
    assert not outcome.problems
    assert set(outcome.candidate.kept) == {'first', 'depthwise', 'last'}
    assert 'greatest that fp16 holds' in outcome.candidate.reason


def test_without_labels_the_answers_must_agree_and_the_card_says_so(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'int8', labelled=False)
    assert not outcome.problems
    assert 'Accuracy was not measured' in Bundle.load(tmp_path / 'lower').card_path.read_text()


def test_without_labels_answers_that_change_are_refused(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'int8', LOUD, labelled=False, spare=False)
    assert outcome.problems[0].startswith('masks: expected at most 5.0% of the cells to change')


def test_latency_is_measured_in_every_backend_that_works(tmp_path: Path) -> None:
    outcome = run(tmp_path, 'fp16', labelled=False, rounds=1)
    assert {row.backend for row in outcome.rows} >= {'onnxruntime@cpu', 'openvino'}
    assert [speed.problem for speed in speeds(outcome)] == [None] * len(list(speeds(outcome)))
    card = Bundle.load(tmp_path / 'lower').card_path.read_text()
    assert '| onnxruntime@cpu, batch 1 |' in card and '| openvino, batch 2 |' in card
    assert not list(doubts(outcome))
    # A backend that says something else than the one that the gate asked is named.
    (row,) = [
        r for r in outcome.rows
        if (r.backend, r.batch, r.bundle) == ('openvino', 2, 'colours_fp16')
    ]
    assert row.difference is not None
    other = row.model_copy(
        update={'difference': row.difference.model_copy(update={'mask_share': 0.1})}
    )
    rows = [other if r is row else r for r in outcome.rows]
    (doubt,) = doubts(replace(outcome, rows=tuple(rows)))
    assert doubt.startswith('Measure its accuracy in openvino, batch 2, before it')


def test_a_bundle_that_is_no_longer_fp32_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 'int8')
    again = Request(
        Bundle.load(tmp_path / 'lower'), tmp_path / 'lowest', 'fp16', (tmp_path / 'pictures',)
    )
    with pytest.raises(QuantizationError, match='expected an fp32 bundle, got int8'):
        quantize(again, lambda sentence: None, untracked)


def test_an_output_that_is_there_is_refused_before_any_work(tmp_path: Path) -> None:
    write_colours(tmp_path / 'lower')
    with pytest.raises(BundleError, match='a bundle is there already'):
        run(tmp_path, 'int8')
    assert not run(tmp_path / 'b', 'int8', overwrite=True).problems


def test_data_without_a_common_class_are_refused_before_any_work(tmp_path: Path) -> None:
    bundle = write_colours(tmp_path / 'colours')
    data = open_dataset(f'camvid:{write_labelled(tmp_path / "data")}')
    other = data.renamed(dict(zip(data.classes, ('sky', 'sea', 'sand'), strict=True)))
    request = Request(bundle, tmp_path / 'lower', 'int8', (tmp_path,), Gate((other,)))
    with pytest.raises(DatasetError, match='got sky, sea, sand'):
        quantize(request, lambda sentence: None, untracked)


def test_an_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file where the folder would have to be fails as a full disk does: by an OSError."""
    (tmp_path / 'file').write_text('')
    bundle = write_colours(tmp_path / 'colours')
    request = Request(
        bundle, tmp_path / 'file' / 'lower', 'fp16', (write_pictures(tmp_path / 'pictures', 4),),
        rounds=0,
    )
    with pytest.raises(BundleError, match='expected to write a bundle there'):
        quantize(request, lambda sentence: None, untracked)


def test_the_graph_gives_the_same_answers_at_any_batch(tmp_path: Path) -> None:
    from perception_ros.bundles.session import Session
    from test.quantization.networks import patches

    run(tmp_path, 'int8')
    session = Session(Bundle.load(tmp_path / 'lower').graph_path.read_bytes(), 'the graph')
    images = np.stack([patches(seed)[0] for seed in range(5)])
    alone, together = (session.each('images', images, batch) for batch in (1, 5))
    for one, other in zip(alone, together, strict=True):
        assert (one['semantic_ground'] == other['semantic_ground']).all()
