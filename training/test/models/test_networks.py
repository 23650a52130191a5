"""Every network keeps the one contract."""

from typing import Any

from builders import batch_of, CLASSES, DFINE, RTDETRV2, SCENE, SEGFORMER, street
from pydantic import TypeAdapter
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from perception_training.config.labels import LabelsConfig
from perception_training.config.loss import LossConfig
from perception_training.config.model import ModelConfig, YoloConfig
from perception_training.data.sample import to_input
from perception_training.errors import TrainingError
from perception_training.models import (
    BOXES,
    build,
    MASKS,
    MODELS,
    PROTOTYPES,
    SCORES,
    SemanticTask,
)

BOTH = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE, 'drivable': ('no', 'yes')})
SCENE_ONLY = LabelsConfig(semantic={'scene': SCENE})
NETWORKS = {
    'roadscene': ({'name': 'roadscene'}, BOTH),
    'yolo': ({'name': 'yolo', 'size': 'n'}, BOTH),
    'yolo with masks': ({'name': 'yolo', 'size': 'n', 'prototypes': 16}, BOTH),
    'mask_rcnn': ({'name': 'mask_rcnn', 'backbone': 'resnet18', 'channels': 16, 'hidden': 16,
                   'proposals': 12, 'candidates': 20, 'samples': 8, 'detections': 7}, BOTH),
    'yolo without suppression': ({'name': 'yolo', 'nms_free': True, 'prototypes': 16}, BOTH),
    'roadseg': ({'name': 'roadseg'}, SCENE_ONLY),
    'unet': ({'name': 'unet', 'encoder': 'resnet18'}, SCENE_ONLY),
    'deeplabv3plus': ({'name': 'deeplabv3plus', 'encoder': 'resnet18'}, SCENE_ONLY),
    'segformer': (SEGFORMER, SCENE_ONLY),
    'rtdetrv2': (RTDETRV2, BOTH),
    'dfine': (DFINE, BOTH),
}


def made(name: str) -> Any:
    settings, labels = NETWORKS[name]
    return build(TypeAdapter(ModelConfig).validate_python(settings), labels)


def test_every_network_is_tested_here() -> None:
    assert {settings['name'] for settings, _ in NETWORKS.values()} == set(MODELS)


@pytest.mark.parametrize('name', NETWORKS)
def test_answers_have_the_shapes_that_the_contract_says(name: str) -> None:
    """Training uses crops: nothing may be tied to one size."""
    network = made(name).eval()
    settings = NETWORKS[name][0]
    rows = settings.get('queries', settings.get('detections', 126))
    with torch.no_grad():
        answers = network.answers(network(torch.rand(2, 3, 64, 96)))
    wanted = {}
    for head, task in network.tasks.items():
        if isinstance(task, SemanticTask):
            wanted[head] = (2, len(task.classes), 64 // task.stride, 96 // task.stride)
            continue
        wanted |= {BOXES: (2, rows, 4), SCORES: (2, rows, 5)}
        if task.masks == 'boxes':
            wanted[MASKS] = (2, rows, 28, 28)
        elif task.masks == 'prototypes':
            wanted |= {MASKS: (2, rows, 16), PROTOTYPES: (2, 16, 16, 24)}
    assert {name: tuple(value.shape) for name, value in answers.items()} == wanted


@pytest.mark.parametrize('boxes', [True, False], ids=['labelled', 'without-boxes'])
@pytest.mark.parametrize('name', NETWORKS)
def test_every_weight_learns_from_every_batch(name: str, boxes: bool) -> None:
    """A weight without a gradient on one process would stop all the others."""
    network = made(name).train()
    batch = batch_of() if boxes else batch_of([street('a', (20, 40, 60, 72), boxes=False)] * 2)
    if 'drivable' in network.tasks:
        batch.semantic['drivable'] = torch.full_like(batch.semantic['scene'], 255)
    terms = network.losses(network(to_input(batch.images)), batch, LossConfig())
    torch.stack([v for each in terms.values() for v in each.values()]).sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    assert set(terms) == set(network.tasks)
    if not boxes and BOXES in terms:
        assert all(value == 0 for value in terms[BOXES].values()), 'unlabelled must cost nothing'


@pytest.mark.parametrize('name', NETWORKS)
def test_no_weight_has_two_names(name: str) -> None:
    """The running average would move it twice a step."""
    places = [t.data_ptr() for t in made(name).state_dict().values() if t.numel()]
    assert len(set(places)) == len(places)


# Millions of parameters, and 10^9 operations at 640 px, as published for YOLOv8 on COCO.
@pytest.mark.parametrize(('size', 'parameters', 'operations'), [
    ('n', 3.2, 8.7), ('s', 11.2, 28.6), ('m', 25.9, 78.9), ('l', 43.7, 165.2), ('x', 68.2, 257.8)])
def test_the_one_stage_detector_has_the_published_sizes(
    size: str, parameters: float, operations: float
) -> None:
    labels = LabelsConfig(boxes=tuple(f'class_{i}' for i in range(80)))
    with torch.device('meta'):
        network = build(YoloConfig(name='yolo', size=size), labels)
        count = sum(p.numel() for p in network.parameters()) / 1e6
        with FlopCounterMode(display=False) as flops, torch.no_grad():
            network.trunk(torch.empty(1, 3, 640, 640))
            features = {s: torch.empty(1, c, 640 // s, 640 // s)
                        for s, c in network.trunk.channels.items()}
            for levels in (network.heads[BOXES].box, network.heads[BOXES].classes):
                for level, stride in zip(levels, (8, 16, 32), strict=True):
                    level(features[stride])
    assert count == pytest.approx(parameters, rel=0.02)
    assert flops.get_total_flops() / 1e9 == pytest.approx(operations, rel=0.02)


# Millions of parameters, as published: of detectors in whole ones, some of them cut off.
@pytest.mark.slow
@pytest.mark.parametrize(('name', 'size', 'parameters'), [
    ('segformer', 'b0', 3.8), ('segformer', 'b1', 13.7), ('segformer', 'b2', 27.5),
    ('segformer', 'b3', 47.3), ('segformer', 'b4', 64.1), ('segformer', 'b5', 84.7),
    ('rtdetrv2', 'r18', 20), ('rtdetrv2', 'r34', 31), ('rtdetrv2', 'r50', 42),
    ('rtdetrv2', 'r101', 76), ('dfine', 'n', 4), ('dfine', 's', 10), ('dfine', 'm', 19),
    ('dfine', 'l', 31), ('dfine', 'x', 62)])
def test_sizes_of_transformers_are_the_published_ones(
    name: str, size: str, parameters: float
) -> None:
    labels = LabelsConfig(semantic={'scene': tuple(f'class_{i}' for i in range(150))}) \
        if name == 'segformer' else LabelsConfig(boxes=tuple(f'class_{i}' for i in range(80)))
    network = build(TypeAdapter(ModelConfig).validate_python({'name': name, 'size': size}), labels)
    count = sum(p.numel() for p in network.parameters()) / 1e6
    print(name, size, round(count, 2))
    assert count == pytest.approx(parameters, rel=0.02, abs=0.1 if name == 'segformer' else 1)


@pytest.mark.parametrize('name', ['unet', 'deeplabv3plus', 'segformer', 'roadseg'])
def test_a_network_without_a_head_for_the_labels_is_refused(name: str) -> None:
    config = TypeAdapter(ModelConfig).validate_python({'name': name})
    with pytest.raises(TrainingError, match='no head for boxes'):
        build(config, BOTH)
