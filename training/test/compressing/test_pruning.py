"""Half of the channels go, and what is left is built, trained and measured like any other."""

from pathlib import Path
from typing import Any

from builders import ALONE, batch_of, make_config, sources, street
import pytest
import torch

from perception_training.compressing.commands import write_start
from perception_training.compressing.pruning import kept_share, prune
from perception_training.config import Config
from perception_training.errors import CheckpointError, TrainingError
from perception_training.fitting import checkpoint
from perception_training.fitting.loop import fit, restored
from perception_training.fitting.run import Run
from perception_training.losses.objective import Objective
from perception_training.models import build, Network

SCENE_ONLY = {'labels__boxes': ()}
VIEWS = sources([street('a', (20, 40, 60, 72), boxes=False)])
FAMILIES: dict[str, dict[str, Any]] = {
    'roadscene': {'model': {'name': 'roadscene'}},
    'yolo': {'model': {'name': 'yolo'}},
    'unet': {'model': {'name': 'unet', 'encoder': 'resnet18'}, **SCENE_ONLY},
    'deeplabv3plus': {'model': {'name': 'deeplabv3plus', 'encoder': 'resnet18'}, **SCENE_ONLY},
}

LARGE = ('unet', 'deeplabv3plus')


def pruned(config: Config, *batches: Any) -> Network:
    return prune(build(config.model, config.labels), config, batches)


def size(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize('name', [
    'roadscene', 'yolo', *(pytest.param(n, marks=pytest.mark.slow) for n in LARGE)])
def test_half_of_the_channels_go_and_the_answers_keep_their_shapes(
    name: str, tmp_path: Path
) -> None:
    config = make_config(tmp_path, **FAMILIES[name])
    whole, half = build(config.model, config.labels).eval(), pruned(config)
    assert 0.45 < kept_share(whole, half) < 0.55
    assert size(half) < 0.3 * size(whole)
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        shapes = [{k: v.shape for k, v in n.answers(n(image)).items()} for n in (whole, half)]
    assert shapes[0] == shapes[1]


def test_a_global_ranking_spares_no_layer_and_empties_none(tmp_path: Path) -> None:
    config = make_config(tmp_path, **SCENE_ONLY, prune__scope='global', prune__share=0.7)
    half = pruned(config)
    widths = [m.out_channels for m in half.modules() if isinstance(m, torch.nn.Conv2d)]
    assert kept_share(build(config.model, config.labels), half) == pytest.approx(0.3, abs=0.1)
    assert min(widths) >= 1


def test_channels_without_effect_go_first(tmp_path: Path) -> None:
    """Magnitude must find the dead ones, or a network loses what it knows."""
    config = make_config(tmp_path, **SCENE_ONLY)
    network = build(config.model, config.labels).eval()
    classes, fine = network.heads['scene'].classes, network.heads['scene'].fine[1]
    with torch.no_grad():
        for layer in (fine[1].weight, fine[2].weight, fine[2].bias):
            layer[::2] = 0
        classes.weight[:, ::2] = 0
        kept = classes.weight[:, 1::2].clone()
    half = prune(network, config, [])
    torch.testing.assert_close(half.heads['scene'].classes.weight, kept)


def test_taylor_asks_the_gradients(tmp_path: Path) -> None:
    config = make_config(tmp_path, **SCENE_ONLY, prune__importance='taylor')
    by_gradients = pruned(config, batch_of())
    by_weights = pruned(make_config(tmp_path, **SCENE_ONLY))
    assert by_gradients.form == by_weights.form  # as many of each layer
    name = 'trunk.backbone.two.1.main.conv.weight'
    assert not torch.equal(by_gradients.state_dict()[name], by_weights.state_dict()[name])


def test_a_head_that_only_teaches_loses_the_same_channels(tmp_path: Path) -> None:
    """No answer shows it, and the gradients of the other head do not reach the trunk."""
    config = make_config(tmp_path, model={'name': 'yolo', 'nms_free': True},
                         prune__importance='taylor')
    half = pruned(config, batch_of()).train()
    loss, _ = Objective(half, config.loss)(batch_of())
    loss.backward()
    assert torch.isfinite(loss)
    widths = [[m.in_channels for m in head.modules() if isinstance(m, torch.nn.Conv2d)]
              for head in (half.heads['boxes'].many, half.heads['boxes'].one)]
    assert widths[0][0] == widths[1][0] < build(
        config.model, config.labels).heads['boxes'].one.box[0][0].conv.in_channels


def test_a_share_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    config = make_config(tmp_path, **SCENE_ONLY, prune__share=0.99)
    with pytest.raises(TrainingError, match='expected a channel or more to be left of '):
        pruned(config)


def test_numbers_of_channels_stay_multiples(tmp_path: Path) -> None:
    half = pruned(make_config(tmp_path, prune__share=0.6, prune__multiple=8))
    widths = {m.out_channels for m in half.trunk.modules() if isinstance(m, torch.nn.Conv2d)}
    assert all(width % 8 == 0 for width in widths)


@pytest.fixture
def start(tmp_path: Path) -> Config:
    """Give a run that begins with a pruned network."""
    config = make_config(
        tmp_path, **SCENE_ONLY, fit__steps=2, fit__save_every=1,
        fit__start={'checkpoint': tmp_path / 'start.pt'})
    write_start(config, pruned(config))
    return config


def test_a_pruned_network_is_trained_resumed_and_restored(start: Config) -> None:
    """Its channels are in the checkpoint, as plain values: the settings do not name them."""
    fit(start, VIEWS)
    state, _ = checkpoint.read(start.run_dir / 'last.pt')
    assert '"trunk.backbone.stem":[null,8]' in state['form']
    without = make_config(start.run_dir.parent, **SCENE_ONLY, fit__steps=3)
    again = fit(without, VIEWS)
    assert again.step == 3
    weight = restored(without).network.state_dict()['trunk.backbone.stem.weight']
    assert torch.equal(weight, again.average.state_dict()['trunk.backbone.stem.weight'])
    assert len(weight) == 8


def test_another_class_list_starts_from_a_pruned_network(start: Config, tmp_path: Path) -> None:
    other = make_config(tmp_path, labels__boxes=(), labels__semantic={'scene': ('no', 'yes')},
                        fit__start={'checkpoint': tmp_path / 'start.pt'})
    network = Run(other, ALONE).network
    assert network.heads['scene'].classes.weight.shape[:2] == (2, 32)


@pytest.mark.parametrize('form', [
    '{"widths": {"trunk.nothing": [4, 4]}}', '{"widths": {"trunk.backbone.stem": [3, 99]}}',
    '{"widths": {"trunk.backbone": [3, 8]}}', '{"int8": [["trunk.backbone"]]}', '{"depth": 3}',
    'no JSON'])
def test_a_form_of_another_network_is_refused(start: Config, form: str) -> None:
    path = start.fit.start.checkpoint
    assert path is not None
    state, _ = checkpoint.read(path)
    checkpoint.write(path, {'average': state['average'], 'form': form}, start)
    with pytest.raises(CheckpointError):
        Run(start, ALONE)
