"""Take channels away: of each layer, and of all that must lose the same ones with it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
import torch_pruning

from perception_training.config import Config
from perception_training.config.compress import PruneConfig
from perception_training.data.sample import Batch
from perception_training.errors import TrainingError
from perception_training.losses.objective import Objective
from perception_training.models import build, Network
from perception_training.models.form import Form, reform
from perception_training.models.narrow import narrowed, Width, widths

MIXING = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Layers that make new channels; all others hand on those that come."""
SIZE_PX = 64
"""Of the image that dependencies are traced with."""
ROUNDS, LEAST = 10, 0.1
"""A global ranking takes away a tenth at a time, so that it sees a layer that has become narrow."""


def prune(network: Network, config: Config, batches: Sequence[Batch]) -> Network:
    """
    Give a network without the channels that matter least; the outputs of its heads stay.

    :param network: is changed on the way; do not use it afterwards.
    :param batches: to sum up gradients over, where `prune.importance` is taylor.
    :raises TrainingError: the network cannot be pruned, or nothing would be left.
    """
    settings = config.prune
    if network.form.int8:
        raise TrainingError('prune: expected an fp32 network, got one that rounds to int8; prune '
                            'the one that it was made of')
    network.eval()
    before = widths(network)
    if settings.importance == 'taylor':
        _gradients(network, config, batches)
    try:
        _take_away(network, settings)
    except TrainingError:
        raise
    except Exception as error:  # the library's own failures have no common base
        raise TrainingError(
            f'prune: the channels of model {config.model.name!r} depend on each other in a way '
            f'that cannot be traced ({type(error).__name__}: {error})') from error
    if widths(network) == before:
        raise TrainingError(
            f'prune.share {settings.share}: no channel can be taken away; '
            + ('with importance norm only layers with batch normalisation are ranked'
               if settings.importance == 'norm' else 'raise it'))
    return _rebuilt(network, config)


def kept_share(before: Network, after: Network) -> float:
    """Give the share of channels that is left, 0..1, over all layers that make channels."""
    def total(network: Network) -> int:
        return sum(layer.weight.shape[0] for layer in network.modules()
                   if isinstance(layer, (nn.Conv2d, nn.Linear)))
    return total(after) / total(before)


def _gradients(network: Network, config: Config, batches: Sequence[Batch]) -> None:
    objective = Objective(network, config.loss)
    network.requires_grad_(True)
    network.zero_grad()
    for batch in batches:
        loss, _ = objective(batch)
        (loss / len(batches)).backward()


def _take_away(network: Network, settings: PruneConfig) -> None:
    def answers(raw: Any) -> list[torch.Tensor]:
        return list(network.answers(raw).values())

    example = torch.zeros(1, 3, SIZE_PX, SIZE_PX)
    importance = {
        'magnitude': torch_pruning.importance.GroupMagnitudeImportance,
        'norm': torch_pruning.importance.BNScaleImportance,
        'taylor': torch_pruning.importance.GroupTaylorImportance,
    }[settings.importance]()
    everywhere = settings.scope == 'global'
    graph = torch_pruning.DependencyGraph().build_dependency(
        network, example_inputs=example, output_transform=answers)
    pruner = torch_pruning.BasePruner(
        network, example, importance, pruning_ratio=settings.share, global_pruning=everywhere,
        iterative_steps=ROUNDS if everywhere else 1,
        max_pruning_ratio=1 - LEAST if everywhere else 1.0,
        round_to=settings.multiple, ignored_layers=_last_layers(graph), output_transform=answers,
        # The library's defaults are shared by all pruners of a process.
        in_channel_groups={}, out_channel_groups={})
    if not everywhere:
        _require_something_left(pruner, network, settings)
    for _ in range(pruner.iterative_steps):
        pruner.step()


def _last_layers(graph: Any) -> list[nn.Module]:
    """Give the layers whose outputs reach an answer without another layer in between."""
    last = []
    for module, node in graph.module2node.items():
        if isinstance(module, MIXING):
            waiting, seen = list(node.outputs), set()
            ends = not waiting
            while waiting and not ends:
                behind = waiting.pop()
                if id(behind) not in seen and not isinstance(behind.module, MIXING):
                    seen.add(id(behind))
                    ends = not behind.outputs
                    waiting += behind.outputs
            if ends:
                last.append(module)
    return last


def _require_something_left(pruner: Any, network: Network, settings: PruneConfig) -> None:
    """Refuse before the library skips what it would empty, and so takes away less than asked."""
    names = {module: name for name, module in network.named_modules()}
    for group in pruner.DG.get_all_groups(
            ignored_layers=pruner.ignored_layers, root_module_types=pruner.root_module_types):
        layer = group[0].dep.target.module
        there = pruner.DG.get_out_channels(layer)
        left = int(there * (1 - settings.share)) // settings.multiple * settings.multiple
        if left < 1:
            raise TrainingError(
                f'prune.share {settings.share}: expected a channel or more to be left of '
                f'{names.get(layer, "a layer")}, which has {there}, in whole multiples of '
                f'prune.multiple {settings.multiple}; lower either')


def _rebuilt(pruned: Network, config: Config) -> Network:
    """Build it anew as a checkpoint's reader will, and require the same answers."""
    plain = build(config.model, config.labels)
    form = Form(widths={
        name: Width(*width) for name, width in narrowed(widths(plain), widths(pruned)).items()})
    reform(plain, form)
    image = torch.rand(1, 3, SIZE_PX, SIZE_PX, generator=torch.Generator().manual_seed(0))
    try:
        plain.load_state_dict(pruned.state_dict())
        with torch.no_grad():
            wanted, got = (n.answers(n(image)) for n in (pruned.eval(), plain.eval()))
        same = all(torch.equal(wanted[name], got[name]) for name in wanted)
    except RuntimeError as error:
        raise TrainingError(f'prune: model {config.model.name!r} has layers that cannot be made '
                            f'narrower: {" ".join(str(error).split())[:200]}') from error
    if not same:
        raise TrainingError(f'prune: model {config.model.name!r} answers otherwise when it is '
                            'built anew')
    return plain
