"""The rules by which weights are drawn, and dropout, do what they say."""

from typing import Any

from builders import CLASSES, SCENE
from pydantic import TypeAdapter
import pytest
import torch
from torch import nn

from perception_training.config.labels import LabelsConfig
from perception_training.config.model import ModelConfig
from perception_training.models import build, Network
from perception_training.models.initialise import initialise

LABELS = LabelsConfig(boxes=CLASSES, semantic={'scene': SCENE})
SCENE_ONLY = LabelsConfig(semantic={'scene': SCENE})


def made(name: str = 'yolo', labels: LabelsConfig = LABELS, **settings: Any) -> Network:
    return build(TypeAdapter(ModelConfig).validate_python({'name': name, **settings}), labels)


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    """Give those with so many weights that their spread can be measured."""
    return [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.weight.numel() > 5000]


@pytest.mark.parametrize('name', ['yolo', 'roadscene'])
def test_kaiming_draws_by_the_number_of_inputs(name: str) -> None:
    for layer in convolutions(made(name, init='kaiming')):
        inputs = layer.weight[0].numel()
        assert layer.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.06)


def test_xavier_draws_between_bounds_of_inputs_and_outputs() -> None:
    for layer in convolutions(made(init='xavier')):
        inputs = layer.weight[0].numel()
        outputs = layer.weight.numel() // layer.in_channels * layer.groups
        bound = (6 / (inputs + outputs)) ** 0.5
        assert 0.98 * bound < layer.weight.abs().max().item() <= bound


@pytest.mark.parametrize('rule', ['kaiming', 'xavier'])
def test_biases_and_what_begins_at_zero_stay(rule: str) -> None:
    """The bias of class scores says that objects are rare."""
    own, drawn = made(), made(init=rule)
    changed = []
    for (name, a), b in zip(own.named_parameters(), drawn.parameters(), strict=True):
        if a.ndim > 1:
            changed.append(not torch.equal(a, b))
        else:
            assert torch.equal(a, b), name
    assert all(changed)
    layer = nn.Linear(4, 4)
    nn.init.zeros_(layer.weight)
    own.heads['zero'] = layer
    initialise(own, rule)
    assert not layer.weight.any()


def test_what_starts_from_other_weights_is_not_drawn() -> None:
    network = made()
    before = {n: p.clone() for n, p in network.named_parameters()}
    network.pretrained = ('trunk.',)
    initialise(network, 'kaiming')
    same = {n for n, p in network.named_parameters() if torch.equal(before[n], p)}
    assert {n for n in before if n.startswith('trunk.')} <= same
    assert 'heads.boxes.box.0.2.weight' not in same


@pytest.mark.parametrize('name', ['yolo', 'unet', 'roadseg'])
def test_dropout_blanks_channels_in_training_alone(name: str) -> None:
    labels = LABELS if name == 'yolo' else SCENE_ONLY
    extra = {'encoder': 'resnet18'} if name == 'unet' else {}
    network = made(name, labels, dropout=0.5, **extra)
    seen: list[torch.Tensor] = []
    network.dropout.register_forward_hook(lambda *words: seen.append(words[2].detach()))
    images = torch.rand(2, 3, 64, 96)
    network.train()(images)
    maps = torch.cat([x.flatten(2).abs().sum(2).flatten() for x in seen])
    assert (maps == 0).float().mean() == pytest.approx(0.5, abs=0.15)
    with torch.no_grad():
        answers = [network.eval()(images)['scene'] for _ in range(2)]
    assert torch.equal(*answers)
