"""A bundle in lower precision, from the images to the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
import tempfile
from typing import Any, Literal

import numpy as np
import onnx

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.benchmarks.difference import difference
from perception_ros.benchmarks.engine import measure as benchmark
from perception_ros.benchmarks.plan import default_backends, EnginePlan, model_of
from perception_ros.benchmarks.report import Difference, EngineRow
from perception_ros.bundles import Bundle, write_bundle
from perception_ros.bundles.bundle import check_target
from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.bundles.graph.network import find_network
from perception_ros.bundles.manifest import GraphInfo
from perception_ros.bundles.session import Session
from perception_ros.core.errors import QuantizationError
from perception_ros.evaluation import Accuracy, evaluate
from perception_ros.evaluation.accuracy import common_classes
from perception_ros.quantization.candidates import (
    Candidate,
    half_candidates,
    int8_candidates,
    Track,
)
from perception_ros.quantization.gate import Gate
from perception_ros.quantization.images import choose_images, ImageSet, picture_folder
from perception_ros.quantization.record import write_card, write_metrics

LowPrecision = Literal['fp16', 'int8']

_BATCHES = (1, 2)
"""Runtimes prepare a graph for one image otherwise than for several, even to other answers."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made of which bundle."""

    bundle: Bundle
    output: Path
    precision: LowPrecision
    calibration: tuple[Path, ...]
    """Folders of pictures, videos, pictures."""
    gate: Gate = Gate()
    spare: bool = True
    """Whether sensitive layers may stay fp32; False: all into int8, pass or fail."""
    overwrite: bool = False
    rounds: int = 7
    """Of the measurement of latency; 0: none."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The last candidate: how good it is, and whether that is good enough."""

    request: Request
    candidate: Candidate
    images: str
    """Which were chosen."""
    before: tuple[Accuracy, ...]
    after: tuple[Accuracy, ...]
    changes: Difference
    """Between the answers before and after on the held-out images, ONNX Runtime on the CPU."""
    bytes_before: int
    bytes_after: int
    problems: tuple[str, ...]
    """Why it was refused; nothing: it was written."""
    rows: tuple[EngineRow, ...] = ()
    """Latency in each backend that works here, before and after in turns."""


def quantize(
    request: Request, tell: Callable[[str], None], track: Track
) -> Outcome:
    """Make the fastest candidate that passes the gate, and write it; else write nothing.

    :param tell: told in sentences what goes on.
    :param track: what long work is drawn through, such as a progress bar.
    :raises QuantizationError: the bundle, the images or the gate cannot be used.
    :raises PerceptionError: as what it calls.
    """
    _check(request)
    bundle = request.bundle
    images = choose_images(
        request.calibration, bundle.manifest.input, request.gate.datasets
    )
    tell(images.description)
    before = _accuracies(bundle, request, track)
    with tempfile.TemporaryDirectory(prefix='quantize-') as name:
        outcome: Outcome | None = None
        for number, candidate in enumerate(_candidates(request, images, track)):
            draft = _draft(request, candidate, Path(name) / str(number))
            outcome = _judge(request, candidate, draft, images, before, track)
            tell(_progress(outcome))
            if not outcome.problems:
                break
        if outcome is None:
            raise QuantizationError(
                f'{bundle.path}: no layer can be in {request.precision} without disturbing the '
                'results beyond use; keep this bundle'
            )
        if request.rounds:
            tell('measuring latency')
            outcome = replace(outcome, rows=_latencies(request, draft))
    if not outcome.problems:
        _write(outcome)
    return outcome


def _check(request: Request) -> None:
    manifest = request.bundle.manifest
    check_target(request.output, request.overwrite)
    if manifest.precision != 'fp32':
        raise QuantizationError(
            f'{request.bundle.path}: expected an fp32 bundle, got {manifest.precision}; take the '
            'bundle that it was made of'
        )
    if not 0 <= request.gate.max_drop <= 1:
        raise QuantizationError(
            f'greatest drop: expected 0..1, got {request.gate.max_drop}; 0.01 is one point'
        )
    for dataset in request.gate.datasets:
        common_classes(manifest, dataset)
        dataset.check()


def _candidates(request: Request, images: ImageSet, track: Track) -> Iterator[Candidate]:
    network = find_network(onnx.load(str(request.bundle.graph_path)))
    if request.precision == 'fp16':
        return half_candidates(network, images)
    return int8_candidates(network, images, spare=request.spare, track=track)


def _draft(request: Request, candidate: Candidate, path: Path) -> Bundle:
    """Write a candidate where it can be measured."""
    payload = candidate.model.SerializeToString(deterministic=True)
    manifest = request.bundle.manifest.model_copy(update={
        'name': f'{model_of(request.bundle)}_{request.precision}',
        'precision': request.precision,
        'kept_fp32': candidate.kept,
        'graph': GraphInfo.of(payload),
    })
    return write_bundle(path, manifest, payload, '')


def _judge(
    request: Request,
    candidate: Candidate,
    draft: Bundle,
    images: ImageSet,
    before: tuple[Accuracy, ...],
    track: Track,
) -> Outcome:
    after = _accuracies(draft, request, track)
    answers = [_answers(bundle, images) for bundle in (request.bundle, draft)]
    changes = difference(answers[0], answers[1], draft.manifest, images.content)
    return Outcome(
        request, candidate, images.description, before, after, changes,
        request.bundle.graph_path.stat().st_size, draft.graph_path.stat().st_size,
        request.gate.problems(before, after, changes, draft.manifest),
    )


def _accuracies(bundle: Bundle, request: Request, track: Track) -> tuple[Accuracy, ...]:
    if not request.gate.datasets:
        return ()
    options = EngineOptions(max_batch=1, device='cpu')
    with open_engine(bundle, 'onnxruntime', options) as engine:
        def tracked(batches: Sequence[Any]) -> Iterable[Any]:
            return track(batches, f'accuracy of {bundle.manifest.name}')

        return tuple(
            evaluate(bundle.manifest, engine, dataset, tracked)
            for dataset in request.gate.datasets
        )


def _answers(bundle: Bundle, images: ImageSet) -> dict[str, Any]:
    session = Session(bundle.graph_path.read_bytes(), f'{bundle.path}')
    found = session.each(INPUT_NAME, images.held_out, 1)
    return {name: np.stack([answer[name] for answer in found]) for name in found[0]}


def _latencies(request: Request, draft: Bundle) -> tuple[EngineRow, ...]:
    """Measure both bundles in turns, in every backend that works here."""
    return benchmark(
        EnginePlan(
            (request.bundle, draft), default_backends(), _BATCHES,
            picture_folder(request.calibration[0]), image_count=4, rounds=request.rounds,
            seconds=0.2,
        ),
        lambda sentence: None,
    ).rows


def _write(outcome: Outcome) -> None:
    request, old = outcome.request, outcome.request.bundle.manifest
    payload = outcome.candidate.model.SerializeToString(deterministic=True)
    provenance = old.provenance.model_copy(update={
        'metrics': {
            request.precision: write_metrics(outcome),
            'fp32': {
                **old.provenance.metrics,
                'accuracy': {found.dataset: found.figures for found in outcome.before},
            },
        },
        'tools': {**old.provenance.tools, 'onnx': onnx.__version__},
    })
    manifest = old.model_copy(update={
        'name': request.output.name,
        'precision': request.precision,
        'kept_fp32': outcome.candidate.kept,
        'graph': GraphInfo.of(payload),
        'provenance': provenance,
    })
    try:
        card = request.bundle.card_path.read_text(encoding='utf-8')
    except OSError:
        card = f'# {manifest.name}\n'
    write_bundle(
        request.output, manifest, payload, write_card(card, outcome), overwrite=request.overwrite
    )


def _progress(outcome: Outcome) -> str:
    kept = len(outcome.candidate.kept)
    verdict = 'refused: ' + '; '.join(outcome.problems) if outcome.problems else 'passes'
    return f'{kept} of {outcome.candidate.weighted} layers in fp32: {verdict}'
