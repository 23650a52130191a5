"""Builders for samples, batches, and configurations that train in seconds."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from perception_training.config import Config
from perception_training.data.readers import Kept
from perception_training.data.sample import Batch, collate, Sample
from perception_training.fitting.distributed import Place

CLASSES = ('car', 'person', 'truck', 'bus', 'bicycle')
SCENE = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'sign', 'fence', 'car',
         'pedestrian', 'cyclist')
CAR, ROAD = SCENE.index('car'), SCENE.index('road')
ALONE = Place(torch.device('cpu'))
# The networks of transformers, small.
SEGFORMER = {'name': 'segformer', 'library': {
    'hidden_sizes': [8, 16, 24, 32], 'depths': [1, 1, 1, 1], 'decoder_hidden_size': 32,
    'num_attention_heads': [1, 1, 2, 4]}}
_QUERIES = {
    'encoder_in_channels': [24, 32, 48], 'encoder_hidden_dim': 32, 'encoder_ffn_dim': 64,
    'encoder_attention_heads': 4, 'd_model': 32, 'decoder_in_channels': [32, 32, 32],
    'decoder_ffn_dim': 64, 'decoder_layers': 2, 'decoder_attention_heads': 4,
    'num_denoising': 8}
RTDETRV2 = {'name': 'rtdetrv2', 'queries': 20, 'library': {**_QUERIES, 'backbone': {
    'embedding_size': 16, 'hidden_sizes': [16, 24, 32, 48], 'depths': [1, 1, 1, 1]}}}
DFINE = {'name': 'dfine', 'size': 's', 'queries': 20, 'library': {
    **_QUERIES, 'backbone': {
        'stem_channels': [3, 8, 8], 'stage_in_channels': [8, 16, 24, 32],
        'stage_mid_channels': [8, 12, 16, 24], 'stage_out_channels': [16, 24, 32, 48],
        'hidden_sizes': [16, 24, 32, 48], 'stage_num_blocks': [1, 1, 1, 1],
        'stage_numb_of_layers': [1, 1, 1, 1]}}}


def street(name: str, box: tuple[int, int, int, int], label: int = 0, width: int = 128,
           height: int = 96, boxes: bool = True) -> Sample:
    """Draw sky over road with one bright thing on it; the scene calls the thing a car."""
    image = np.full((height, width, 3), (90, 140, 230), np.uint8)
    image[height // 2:] = (80, 80, 80)
    scene = np.zeros((height, width), np.uint8)
    scene[height // 2:] = ROAD
    x0, y0, x1, y1 = box
    image[y0:y1, x0:x1] = (230, 40, 40) if label == 0 else (240, 220, 40)
    scene[y0:y1, x0:x1] = CAR
    if not boxes:
        return Sample(name, image, semantic={'scene': scene})
    mask = np.zeros((1, height, width), np.uint8)
    mask[0, y0:y1, x0:x1] = 1
    return Sample(name, image, np.array([box], np.float32), np.array([label], np.int64),
                  np.ones(len(CLASSES), bool), mask, {'scene': scene})


STREETS = (street('a', (20, 40, 60, 72)), street('b', (70, 44, 118, 90), label=2))


def sources(samples: Sequence[Sample] = STREETS) -> list[Kept]:
    """Give samples as the one source of a run."""
    return [Kept('streets', list(samples))]


def batch_of(samples: Sequence[Sample] = STREETS) -> Batch:
    return collate(samples, len(CLASSES), ('scene',))


def make_config(folder: Path, **changes: Any) -> Config:
    """Give a small run; `fit__steps=3` changes `fit.steps`."""
    raw: dict[str, Any] = {
        'run_dir': folder / 'run', 'width': 128, 'height': 96,
        'labels': {'boxes': CLASSES, 'semantic': {'scene': SCENE}},
        'model': {'name': 'roadscene'},
        'data': {'root': folder, 'workers': 0, 'train': [
            {'reader': 'shapes', 'semantic_classes': {'person': 'pedestrian'}}]},
        'augment': {'width': 128, 'height': 96, 'scale_min': 1.0, 'scale_max': 1.0,
                    'flip': 0.0, 'colour': 0.0, 'blur': 0.0},
        'loss': {'detection': {'box': 4.0, 'classes': 1.0, 'alpha': 1.0}, 'heads': {'scene': 2.0}},
        'fit': {'steps': 10, 'batch': 2, 'device': 'cpu', 'threads': 1, 'log_every': 1,
                'save_every': 1000, 'schedule': {'warmup': 5}}}
    for key, value in changes.items():
        *parents, leaf = key.split('__')
        node = raw
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return Config.model_validate(raw)
