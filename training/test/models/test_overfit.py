"""Each family learns eight images by heart: whatever keeps it from learning shows here."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from builders import make_config
import numpy as np
import pytest
import torch

from perception_training.config import Config
from perception_training.data.readers import open_source, Source
from perception_training.data.sample import to_input
from perception_training.fitting.loop import fit
from perception_training.losses.boxes import iou
from perception_training.measuring.evaluate import measure
from perception_training.measuring.predict import network_predictor
from perception_training.models import BOXES, Network

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings('default')]
LABELS = {'boxes': ('car', 'person'), 'semantic': {'scene': ('sky', 'road', 'car', 'person')}}
BOXES_ONLY, SCENE_ONLY = {'boxes': LABELS['boxes']}, {'semantic': LABELS['semantic']}
# Small enough for minutes on one core; the layers are those of the published sizes.
DETECTOR = {
    'encoder_hidden_dim': 64, 'd_model': 64, 'encoder_ffn_dim': 128, 'decoder_ffn_dim': 128,
    'encoder_in_channels': [48, 64, 96], 'decoder_in_channels': [64, 64, 64],
    'decoder_layers': 2, 'encoder_attention_heads': 4, 'decoder_attention_heads': 4,
    'num_denoising': 20}
RESNET = {'embedding_size': 32, 'hidden_sizes': [32, 48, 64, 96], 'depths': [1, 1, 1, 1]}
HGNET = {'stage_in_channels': [16, 32, 48, 64], 'stage_mid_channels': [16, 16, 24, 32],
         'stage_out_channels': [32, 48, 64, 96], 'hidden_sizes': [32, 48, 64, 96],
         'stage_num_blocks': [1, 1, 1, 1]}
SEGFORMER = {'hidden_sizes': [16, 32, 48, 64], 'depths': [1, 1, 1, 1], 'drop_path_rate': 0.0,
             'num_attention_heads': [1, 2, 3, 4], 'decoder_hidden_size': 64}
# Heads at strides 4 and 8 see too little of people who are 8 px wide.
LARGE = ('roadscene', 'yolo', 'nms_free', 'roadseg')
# Model, labels, steps and learning rate.
FAMILIES: dict[str, tuple[dict[str, Any], dict[str, Any], int, float]] = {
    'roadscene': ({'name': 'roadscene'}, LABELS, 300, 0.003),
    'yolo': ({'name': 'yolo'}, LABELS, 450, 0.002),
    'nms_free': ({'name': 'yolo', 'nms_free': True}, BOXES_ONLY, 450, 0.002),
    'roadseg': ({'name': 'roadseg'}, SCENE_ONLY, 200, 0.003),
    'unet': ({'name': 'unet', 'encoder': 'resnet18'}, SCENE_ONLY, 80, 0.001),
    'deeplabv3plus': ({'name': 'deeplabv3plus', 'encoder': 'resnet18'}, SCENE_ONLY, 120, 0.001),
    'segformer': ({'name': 'segformer', 'library': SEGFORMER}, SCENE_ONLY, 200, 0.003),
    'rtdetrv2': ({'name': 'rtdetrv2', 'queries': 30, 'library': {**DETECTOR, 'backbone': RESNET}},
                 BOXES_ONLY, 400, 0.001),
    'dfine': ({'name': 'dfine', 'size': 's', 'queries': 30,
               'library': {**DETECTOR, 'backbone': HGNET}}, BOXES_ONLY, 400, 0.001)}


class Learnt(NamedTuple):
    """A run that is over."""

    config: Config
    network: Network
    source: Source


@pytest.fixture(scope='module')
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Learnt]:
    """Give what fits each family once."""
    return cache(lambda name: _fitted(tmp_path_factory.mktemp(name), name))


def _fitted(folder: Path, name: str) -> Learnt:
    """Fit eight drawn streets."""
    model, labels, steps, rate = FAMILIES[name]
    width, height = (192, 128) if name in LARGE else (96, 64)
    config = make_config(
        folder, width=width, height=height, labels=labels, model=model, fit__steps=steps,
        fit__batch=8, fit__optimiser={'lr': rate, 'weight_decay': 0.0}, fit__ema=0.9,
        fit__log_every=50, fit__schedule={'warmup': 20, 'final': 0.001},
        augment__width=width, augment__height=height,
        loss={}, bundle__semantic_stride=1,  # people here are 8 px wide: half of it is edge
        data__train=[
            {'reader': 'shapes', 'count': 8, 'width': width, 'height': height}])
    source = open_source(config.data.train[0], config.labels, folder)
    return Learnt(config, fit(config, [source]).trained.network, source)


@pytest.mark.parametrize('name', FAMILIES)
def test_eight_images_are_learnt_by_heart(name: str, learnt: Callable[[str], Learnt]) -> None:
    config, network, source = learnt(name)
    found = measure(source, config, network_predictor(network, config))
    print(name, {head: numbers.get('map50', numbers.get('miou'))
                 for head, numbers in found.items()})
    assert set(found) == set(network.tasks)
    for head, numbers in found.items():
        assert numbers['map50' if head == BOXES else 'miou'] > 0.9


def test_one_answer_an_object_is_left_without_suppression(
    learnt: Callable[[str], Learnt]
) -> None:
    """And the head that only teaches shows what suppression would have had to remove."""
    _, network, source = learnt('nms_free')
    network.eval()
    truth, single, many = 0, 0, 0
    for number in range(len(source)):
        sample = source[number]
        with torch.no_grad():
            features = network.trunk(to_input(torch.from_numpy(np.array(sample.image))[None]))
            head = network.heads[BOXES]
            boxes, sure = _sure(head.answers(head(features)))
            overlaps = iou(boxes[:, None], boxes) * (sure[:, None] == sure)
            assert int((overlaps > 0.5).sum()) == len(boxes), sample.name
            truth, single = truth + len(sample.boxes), single + len(boxes)
            many += len(_sure(head.many.answers(head.many(features)))[0])
    print('true boxes', truth, 'answers', single, 'of the head that teaches', many)
    assert single == truth
    assert many > 1.2 * truth


def _sure(answers: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Give boxes and classes with a score of at least 0.3."""
    scores, labels = answers['scores'][0].max(1)
    return answers[BOXES][0][scores >= 0.3], labels[scores >= 0.3]
