"""Before and after: accuracy, size and speed of bundles, recorded and shown."""

from collections.abc import Sequence
from contextlib import ExitStack
import json
from pathlib import Path
from statistics import mean, median
import time

import numpy as np
from numpy.typing import NDArray
import onnx
from rich.console import Console
from rich.table import Table

from perception_ros.bundles import Bundle
from perception_training.config import Config
from perception_training.data.readers import read_source
from perception_training.errors import TrainingError
from perception_training.measuring.evaluate import evaluate_all, Metrics, metrics_of
from perception_training.measuring.predict import bundle_predictor, Predictor
from perception_training.measuring.scores import principal
from perception_training.models import MASKS
from perception_training.reporting.compression import (
    Compression,
    FILE,
    LATENCY_MS,
    PARAMETERS,
    read_compressions,
    SIZE_MB,
)

ROUNDS, WARM = 60, 5
"""Images that are timed, and those before them that are not."""
_FORMS = {SIZE_MB: '.2f', PARAMETERS: ',.0f', LATENCY_MS: '.1f'}


def figures(bundles: Sequence[Bundle], config: Config) -> list[dict[str, float]]:
    """
    Measure bundles in ONNX Runtime on the CPU, side by side.

    Accuracies are means over the validation sets; a bundle of other classes, as a teacher may be,
    has none.

    """
    with ExitStack() as stack:
        predictors = {str(number): stack.enter_context(bundle_predictor(
            bundle.path, config.fit.threads or 0)) for number, bundle in enumerate(bundles)}
        ours = {number: predictors[number] for number, bundle in zip(
            predictors, bundles, strict=True) if _says_what_we_ask(bundle, config)}
        scores = evaluate_all(config, ours)
        image = read_source(config.data.val[0], config.labels, config.data.root)[0].image
        times = latencies(list(predictors.values()), image)
    return [{
        **(accuracies(metrics_of(scores[number])) if number in scores else {}),
        SIZE_MB: round(bundle.graph_path.stat().st_size / 1e6, 3),
        PARAMETERS: _parameters(bundle), LATENCY_MS: round(milliseconds, 2),
    } for number, bundle, milliseconds in zip(predictors, bundles, times, strict=True)]


def require_validation(config: Config) -> None:
    """
    Refuse before anything is done what could not be compared at its end.

    :raises TrainingError: there is nothing to measure on.
    """
    if not config.data.val:
        raise TrainingError('data.val: expected sets to measure on, before and after, got none')


def latencies(predictors: Sequence[Predictor], image: NDArray[np.uint8],
              rounds: int = ROUNDS) -> list[float]:
    """Give each one's median time for an image, in ms; in turns, so that all are disturbed."""
    times: list[list[float]] = [[] for _ in predictors]
    for number in range(WARM + rounds):
        for predict, kept in zip(predictors, times, strict=True):
            start = time.perf_counter()
            predict(image)
            if number >= WARM:
                kept.append((time.perf_counter() - start) * 1e3)
    return [median(kept) for kept in times]


def accuracies(metrics: Metrics) -> dict[str, float]:
    """Give the means over all sets, and over all label maps."""
    found: dict[str, list[float]] = {}
    for heads in metrics.values():
        for head, numbers in heads.items():
            name, value = principal(numbers)
            found.setdefault(f'mask_{name}' if head == MASKS else name, []).append(value)
    return {name: round(mean(values), 4) for name, values in found.items()}


def record(run_dir: Path, entries: Sequence[Compression]) -> None:
    """Add to `compression.json`, in place of what was recorded under the same names."""
    new = {entry.name for entry in entries}
    kept = [entry for entry in read_compressions(run_dir) if entry.name not in new]
    (run_dir / FILE).write_text(
        json.dumps([entry.model_dump() for entry in (*kept, *entries)], indent=2),
        encoding='utf-8')


def show(entries: Sequence[Compression]) -> None:
    """Print a table of each."""
    for entry in entries:
        table = Table('', 'before', 'after', 'change', title=f'{entry.kind}: {entry.name}')
        for key in (*entry.accuracies, *_FORMS):
            old, new = entry.before.get(key), entry.after.get(key)
            table.add_row(key, _cell(key, old), _cell(key, new), _change(key, old, new))
        Console().print(table)


def _says_what_we_ask(bundle: Bundle, config: Config) -> bool:
    detection, labels = bundle.manifest.detection, config.labels
    boxes = tuple(c.name for c in detection.classes) if detection else ()
    semantic = {head: tuple(c.name for c in info.classes)
                for head, info in bundle.manifest.semantic.items()}
    return labels.boxes in ((), boxes) and all(
        semantic.get(head) == names for head, names in labels.semantic.items())


def _parameters(bundle: Bundle) -> int:
    """Count the weights and biases of a graph's layers; int8 has as many as fp32."""
    graph = onnx.load(str(bundle.graph_path)).graph
    stored = {tensor.name: int(np.prod(tensor.dims)) for tensor in graph.initializer}
    rounded = {node.output[0]: node.input[0] for node in graph.node
               if node.op_type == 'DequantizeLinear'}
    taken = {rounded.get(name, name) for node in graph.node
             if node.op_type in ('Conv', 'ConvTranspose', 'Gemm', 'MatMul')
             for name in node.input[1:]}
    return sum(count for name, count in stored.items() if name in taken)


def _cell(key: str, value: float | None) -> str:
    return '-' if value is None else format(value, _FORMS.get(key, '.3f'))


def _change(key: str, old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return '-'
    if key not in _FORMS:
        return f'{(new - old) * 100:+.1f} points'
    return f'{new / old - 1:+.0%}' if old else '-'
