"""Before and after: accuracy, size and speed of bundles, recorded and shown."""

from collections.abc import Mapping, Sequence
import json
from pathlib import Path
from statistics import median
import time
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
import onnx
import onnxruntime
from rich.console import Console
from rich.table import Table

from perception_ros.bundles import Bundle
from perception_ros.bundles.contract import INPUT_NAME
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data.readers import open_source
from perception_training.errors import TrainingError
from perception_training.measuring.evaluate import evaluate, Metrics
from perception_training.measuring.predict import bundle_predictor

RECORD = 'compression.json'
ROUNDS, WARM = 60, 5
Kind = Literal['prune', 'quantise', 'distil']
Figures = Mapping[str, float]
"""`miou` and `map50` 0..1, means over the validation sets, where they are measured; `size_mb` of
the graph, `parameters` of its layers, `latency_ms` of one image in ONNX Runtime, a median."""
ROWS = {'miou': '.3f', 'map50': '.3f', 'size_mb': '.2f', 'parameters': ',.0f',
        'latency_ms': '.1f'}


class Entry(NamedTuple):
    """One way in which a network was made smaller."""

    name: str
    kind: Kind
    before: Figures
    after: Figures


def figures(bundles: Sequence[Bundle], config: Config) -> list[dict[str, float]]:
    """
    Measure bundles side by side: latency in turns, so that a busy machine is busy for all.

    :raises TrainingError: there is nothing to measure accuracy on.
    """
    if not config.data.val:
        raise TrainingError('data.val: expected sets to measure on, before and after, got none')
    found = []
    for bundle, latency in zip(bundles, latencies(bundles, config), strict=True):
        found.append({
            **_accuracy(bundle, config),
            'size_mb': round(bundle.graph_path.stat().st_size / 1e6, 3),
            'parameters': _parameters(bundle), 'latency_ms': round(latency, 3)})
    return found


def latencies(bundles: Sequence[Bundle], config: Config, rounds: int = ROUNDS) -> list[float]:
    """Give the median time of one image in ONNX Runtime on the CPU, in ms, of each bundle."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = config.fit.threads or 0
    source = open_source(config.data.val[0].model_copy(update={'cache': False}), config.labels,
                         config.data.root)
    image = source[0].image
    runs = []
    for bundle in bundles:
        size = bundle.manifest.input
        canvas = canvas_of(image, size.width, size.height)[None]
        session = onnxruntime.InferenceSession(
            str(bundle.graph_path), options, providers=['CPUExecutionProvider'])
        runs.append((session, {INPUT_NAME: canvas}, []))
    for _ in range(WARM + rounds):
        for session, feeds, times in runs:
            start = time.perf_counter()
            session.run(None, feeds)
            times.append((time.perf_counter() - start) * 1e3)
    return [median(times[WARM:]) for _, _, times in runs]


def canvas_of(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Letterbox an image, uint8 `[h, w, 3]`, as the runtime does: uint8 `[height, width, 3]`."""
    canvas = np.empty((height, width, 3), np.uint8)
    Letterbox.fit((image.shape[1], image.shape[0]), (width, height)).write(image, None, canvas)
    return canvas


def record(run_dir: Path, entries: Sequence[Entry]) -> None:
    """Add to `compression.json`, in place of what had the same name and kind."""
    path = run_dir / RECORD
    there = json.loads(path.read_text(encoding='utf-8')) if path.exists() else []
    new = {(entry.name, entry.kind) for entry in entries}
    kept = [entry for entry in there if (entry['name'], entry['kind']) not in new]
    path.write_text(json.dumps([*kept, *(entry._asdict() for entry in entries)], indent=2),
                    encoding='utf-8')


def show(entries: Sequence[Entry]) -> None:
    """Print a table of each."""
    for entry in entries:
        table = Table('', 'before', 'after', 'change', title=f'{entry.kind}: {entry.name}')
        for key, form in ROWS.items():
            old, new = entry.before.get(key), entry.after.get(key)
            if old is not None or new is not None:
                table.add_row(key, _cell(old, form), _cell(new, form), _change(key, old, new))
        Console().print(table)


def _accuracy(bundle: Bundle, config: Config) -> dict[str, float]:
    """Measure a bundle of the run's own classes; a teacher may have others, or other heads."""
    manifest, labels = bundle.manifest, config.labels
    detection = manifest.detection
    boxes = tuple(c.name for c in detection.classes) if detection else ()
    semantic = {head: tuple(c.name for c in info.classes)
                for head, info in manifest.semantic.items()}
    if (labels.boxes and labels.boxes != boxes) or any(
            semantic.get(head) != names for head, names in labels.semantic.items()):
        return {}
    with bundle_predictor(bundle.path, config.fit.threads or 0) as predict:
        return short(evaluate(config, predict))


def short(metrics: Metrics) -> dict[str, float]:
    """Give the means over all sets, and over all label maps."""
    found: dict[str, list[float]] = {'miou': [], 'map50': []}
    for heads in metrics.values():
        for numbers in heads.values():
            for key, values in found.items():
                if key in numbers:
                    values.append(numbers[key])
    return {key: round(float(np.mean(values)), 4) for key, values in found.items() if values}


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


def _cell(value: float | None, form: str) -> str:
    return '-' if value is None else format(value, form)


def _change(key: str, old: float | None, new: float | None) -> str:
    if old is None or new is None:
        return '-'
    if key in ('miou', 'map50'):
        return f'{(new - old) * 100:+.1f} points'
    return f'{new / old - 1:+.0%}' if old else '-'

