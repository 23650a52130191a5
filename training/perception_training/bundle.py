"""A checkpoint becomes the bundle that ships: graph, manifest and an honest card."""

import json
from pathlib import Path
from typing import Any

import torch

from perception_ros.bundles import Bundle, write_bundle
from perception_ros.bundles.importing import import_model
from perception_ros.bundles.manifest import LicenceInfo, ProvenanceInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.bundles.proof import Proof
from perception_ros.core.image import Image
from perception_training.card import write_card
from perception_training.config import Config
from perception_training.data import load_camvid, load_idd
from perception_training.evaluate import (
    box_metrics,
    bundle_predictor,
    evaluate,
    SCENE_STRIDE,
    SELECTION,
    torch_predictor,
)
from perception_training.export import export_onnx
from perception_training.fit import Run
from perception_training.model import DETECTION_CLASSES, SCENE_CLASSES
from perception_training.record import read_record

DESCRIPTION = 'Road users as boxes and the road scene as a mask, from one small network.'
DATA = ('CamVid train (367 images, scene), IDD (194 images of the training drives, boxes), 56 '
        'frames of a motorway clip; gaps filled by YOLOX-nano and TwinLiteNet')
LICENCE = LicenceInfo(
    weights='research use only, because of the training data',
    data='CamVid CC BY-NC 4.0; IDD research use; motorway clip MIT',
    notice='Starts from YOLOX-nano weights (Apache-2.0, COCO); pseudo-labels by YOLOX-nano '
           '(Apache-2.0) and TwinLiteNet (MIT, BDD100K).')


def make_bundle(config: Config, output: Path) -> Bundle:
    """
    Export the averaged weights of `run_dir/last.pt`, measure the bundle itself, write its card.

    The numbers in card and manifest are those of the bundle in ONNX Runtime, so that they hold
    for what ships and not for what was trained.
    """
    torch.set_num_threads(config.threads)
    record = read_record(config.run_dir)
    run = Run(config)
    run.load(config.run_dir / 'last.pt')
    raw = config.run_dir / 'raw.onnx'
    export_onnx(run.average, raw, config.width, config.height)
    proofs: list[Proof] = []
    draft = import_model(
        raw, config.run_dir / 'bundle' / output.name, family='decoded', overwrite=True,
        images=_pictures(config), report=proofs.append, options=ImportOptions(
            description=DESCRIPTION, classes=DETECTION_CLASSES, selection=SELECTION,
            heads={'scene': HeadOptions('scene', SCENE_CLASSES, SCENE_STRIDE)},
            licence=LICENCE, provenance=ProvenanceInfo(
                source='perception_training, this repository', data=DATA,
                commit=record.get('resumed', [record])[-1]['commit'], seed=record['seed'],
                tools={'torch': record['torch'], 'python': record['python']})))
    with bundle_predictor(draft.path, config.threads) as predict:
        metrics = evaluate(config, predict)
    if config.start_from is not None:
        # Were the training of no use, the card would have to show it.
        start = torch_predictor(Run(config).model, config.width, config.height)
        metrics['idd_val_start'] = box_metrics(load_idd(config, held_out=True), start)
    training = {'steps': run.step, 'minutes': round(run.seconds / 60, 1)}
    (config.run_dir / 'bundle_metrics.json').write_text(
        json.dumps({**training, **metrics}, indent=2))
    provenance = draft.manifest.provenance.model_copy(update={'metrics': _short(metrics)})
    manifest = draft.manifest.model_copy(update={'provenance': provenance})
    card = write_card(manifest, record, training, metrics, proofs[0], config)
    return write_bundle(output, manifest, draft.graph_path.read_bytes(), card, overwrite=True)


def _short(metrics: dict[str, Any]) -> dict[str, Any]:
    boxes = metrics['idd_val']
    return {'camvid_val_miou': metrics['camvid_val']['miou'], 'idd_val_map50': boxes['map50'],
            'idd_val_ap50': {n: c['ap50'] for n, c in boxes['classes'].items()},
            'idd_val_n': {n: c['n'] for n, c in boxes['classes'].items()}}


def _pictures(config: Config) -> list[Image]:
    """Give real images for the proof: noise would leave the box head silent."""
    samples = [*load_camvid(config, 'train')[:3], *load_idd(config, held_out=False)[:3]]
    return [Image.from_array(s.image) for s in samples]
