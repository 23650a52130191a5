"""A checkpoint becomes a bundle: graph, manifest, proof and an honest card."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles import Bundle, write_bundle
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.manifest import ProvenanceInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.core.image import Image
from perception_training.config import Config
from perception_training.data.readers import read_source
from perception_training.delivering.card import Facts, write_card
from perception_training.delivering.engines import measure_engines, opened
from perception_training.delivering.export import export_onnx
from perception_training.delivering.int8 import in_int8, learnt, require_close, Rounding
from perception_training.delivering.proof import Agreement, compare, prove
from perception_training.fitting.loop import LAST, restored
from perception_training.fitting.record import read_record
from perception_training.measuring.evaluate import evaluate, Metrics
from perception_training.measuring.predict import network_predictor, selection
from perception_training.models import BOXES, BoxTask, build, MASKS, Network, SemanticTask
from perception_training.models.int8 import without_rounding

PICTURES = 6


def make_bundle(config: Config, output: Path, checkpoint: str = LAST) -> Bundle:
    """
    Export a checkpoint's averaged weights, measure the bundle itself, write its card.

    The numbers in card and manifest are those of the bundle in ONNX Runtime, so that they hold
    for what ships and not for what was trained.

    :param checkpoint: file in `run_dir`.
    :raises TrainingError: there is no checkpoint or record, or the bundle answers differently.
    """
    record = read_record(config.run_dir)
    network, step, seconds = restored(config, checkpoint)
    draft, agreement = make_draft(config, network, record, output.name)
    with opened(config, draft.path, ['onnxruntime']) as (contenders, _):
        metrics = measure_engines(config, contenders)['onnxruntime'].metrics
    facts = Facts(record, step, round(seconds / 60, 1), metrics, _start(config), agreement,
                  chosen=checkpoint != LAST)
    (config.run_dir / 'bundle_metrics.json').write_text(json.dumps(
        {'steps': step, 'minutes': facts.minutes, **metrics}, indent=2), encoding='utf-8')
    provenance = draft.manifest.provenance.model_copy(update={'metrics': _short(metrics)})
    manifest = draft.manifest.model_copy(update={'provenance': provenance})
    card = write_card(manifest, config, facts)
    return write_bundle(output, manifest, draft.graph_path.read_bytes(), card, overwrite=True)


def make_draft(config: Config, network: Network, record: dict[str, Any],
               name: str) -> tuple[Bundle, tuple[Agreement, ...]]:
    """
    Export a network into `run_dir/bundle/<name>` and compare the two; nothing is measured yet.

    A network that rounds becomes an int8 bundle with the ranges that it learnt.

    :raises TrainingError: the bundle answers differently.
    """
    rounds = bool(network.form.int8)
    plain = without_rounding(network) if rounds else network
    raw = config.run_dir / 'raw.onnx'
    export_onnx(plain, raw, config.width, config.height)
    images = pictures(config)
    draft = import_model(
        raw, config.run_dir / 'bundle' / (f'{name}_fp32' if rounds else name), overwrite=True,
        family='decoded' if BOXES in network.tasks else 'semantic',
        images=[Image.from_array(image) for image in images],
        options=import_options(config, network, record))
    if not rounds:
        return draft, prove(network, config, draft, images)
    rounding = Rounding(draft, network)
    draft = in_int8(draft, rounding, rounding.by_tensor(learnt(network)), name)
    agreement = compare(network, config, draft, images)
    require_close(agreement)
    return draft, agreement


def import_options(config: Config, network: Network, record: dict[str, Any]) -> ImportOptions:
    """Say to the runtime's importer what the exported graph's numbers mean."""
    bundle = config.bundle
    boxes = network.tasks.get(BOXES)
    semantic = {head: task for head, task in network.tasks.items()
                if isinstance(task, SemanticTask)}
    return ImportOptions(
        description=bundle.description,
        classes=boxes.classes if boxes else None,
        selection=selection(config, boxes) if isinstance(boxes, BoxTask) else None,
        heads={head: HeadOptions(head, task.classes, bundle.semantic_stride)
               for head, task in semantic.items()},
        mask_cells=bundle.mask_cells, score_threshold=bundle.score_threshold,
        licence=bundle.licence,
        provenance=ProvenanceInfo(
            source='perception_training, this repository',
            data='; '.join(f'{d.name} ({d.use})' for d in bundle.data) or 'not said',
            commit=record.get('resumed', [record])[-1]['commit'], seed=record['seed'],
            tools={'torch': record['torch'], 'python': record['python']}))


def pictures(config: Config) -> list[NDArray[np.uint8]]:
    """Give training images for the proof: noise would leave a box head silent."""
    sources = [read_source(s, config.labels, config.data.root) for s in config.data.train]
    images: list[NDArray[np.uint8]] = []
    for number in range(PICTURES):
        source = sources[number % len(sources)]
        images.append(source[number // len(sources) % len(source)].image)
    return images


def _start(config: Config) -> Metrics:
    """
    Measure the boxes of the network as it was before training, if it had learnt them elsewhere.

    Were the training of no use, the card would have to show it.
    """
    network = build(config.model, config.labels, config.data.root)
    if f'heads.{BOXES}.' not in network.pretrained:
        return {}
    return evaluate(config, network_predictor(network, config))


def _short(metrics: Metrics) -> dict[str, Any]:
    """Give the numbers that a manifest has room for."""
    short: dict[str, Any] = {}
    for name, heads in metrics.items():
        key = name.replace(' ', '_')
        for head, numbers in heads.items():
            if head == BOXES:
                classes = numbers['classes'].items()
                short |= {f'{key}_map50': numbers['map50'],
                          f'{key}_ap50': {n: c['ap50'] for n, c in classes},
                          f'{key}_n': {n: c['n'] for n, c in classes}}
            elif head == MASKS:
                short[f'{key}_mask_map50'] = numbers['map50']
            else:
                short[f'{key}_{head}_miou'] = numbers['miou']
    return short
