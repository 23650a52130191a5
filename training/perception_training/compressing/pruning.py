"""Take channels away: of each layer, and of all that must lose the same ones with it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn, Tensor
import torch_pruning

from perception_training.config import Config
from perception_training.config.compress import PruneConfig
from perception_training.data.sample import Batch
from perception_training.errors import TrainingError
from perception_training.losses.objective import Objective
from perception_training.models import build, Network
from perception_training.models.form import Form, reform
from perception_training.models.narrow import CONVOLUTIONS, narrowed, Width, widths

MIXING = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
"""Layers that make new channels; all others hand on those that come."""
SIZE_PX = 64
"""Of the image that dependencies are traced with."""
LEAST = 0.1
"""Share of a layer that a global ranking leaves whatever it finds."""


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
    for name, layer in network.named_modules():
        if isinstance(layer, CONVOLUTIONS) and layer.groups > 1 and not _depthwise(layer):
            raise TrainingError(f'prune: {name} has {layer.groups} groups of channels; expected '
                                'convolutions of all channels, or of each by itself')
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


class _Channels(NamedTuple):
    """Channels that are made by the same layers, and can be told apart by what they matter."""

    root: nn.Module
    """The layer that they are counted in."""
    places: Tensor
    """int64 `[n]` in that layer."""
    importance: Tensor
    """float32 `[n]`."""


def _take_away(network: Network, settings: PruneConfig) -> None:
    graph = torch_pruning.DependencyGraph().build_dependency(
        network, example_inputs=torch.zeros(1, 3, SIZE_PX, SIZE_PX), output_transform=_learnt)
    names = {module: name for name, module in network.named_modules()}
    found = list(_channels(graph, settings))
    gone: dict[nn.Module, list[int]] = {}
    for channels, left in zip(found, _numbers_left(found, settings), strict=True):
        there = len(channels.places)
        if left < 1:
            raise TrainingError(
                f'prune.share {settings.share}: expected a channel or more to be left of '
                f'{names[channels.root]}, which has {there}; lower it')
        least = channels.importance.argsort()[:there - left]
        gone.setdefault(channels.root, []).extend(channels.places[least].tolist())
    for root, places in gone.items():
        if places:
            function = graph.get_pruner_of_module(root).prune_out_channels
            graph.get_pruning_group(root, function, places).prune()


def _learnt(raw: Any) -> list[Tensor]:
    """Give all that a network says in training, of which its answers may be a part."""
    if isinstance(raw, Tensor):
        return [raw] if raw.requires_grad else []
    values = raw.values() if isinstance(raw, Mapping) else raw
    return [tensor for value in values for tensor in _learnt(value)]


def _channels(graph: Any, settings: PruneConfig) -> Iterator[_Channels]:
    """
    Yield all channels that can be taken away.

    Where several layers' channels lie side by side, each layer's are by themselves: ranked
    together, one layer could lose all.
    """
    importance = {
        'magnitude': torch_pruning.importance.GroupMagnitudeImportance,
        'norm': torch_pruning.importance.BNScaleImportance,
        'taylor': torch_pruning.importance.GroupTaylorImportance,
    }[settings.importance]()
    for group in graph.get_all_groups(_last_layers(graph), MIXING):
        with torch.no_grad():
            matters = importance(group)
        if matters is None:
            continue
        makers: list[set[str]] = [set() for _ in matters]
        for item in group:
            layer = item.dep.target.module
            if isinstance(layer, MIXING) and not _depthwise(layer) and \
                    graph.is_out_channel_pruning_fn(item.dep.handler):
                for place in item.root_idxs:
                    makers[place].add(item.dep.target.name)
        for same in {frozenset(names) for names in makers}:
            places = torch.tensor([i for i, names in enumerate(makers) if names == same])
            yield _Channels(group[0].dep.target.module, places, matters[places].float())


def _numbers_left(found: Sequence[_Channels], settings: PruneConfig) -> list[int]:
    """Say how many of each channels stay."""
    if settings.scope == 'uniform':
        left = [round(len(c.places) * (1 - settings.share)) for c in found]
    else:
        everything = torch.cat([c.importance for c in found]).sort().values
        threshold = everything[min(int(len(everything) * settings.share), len(everything) - 1)]
        left = [max(int((c.importance >= threshold).sum()), round(len(c.places) * LEAST), 1)
                for c in found]
    return [min(-(-count // settings.multiple) * settings.multiple, len(c.places))
            for count, c in zip(left, found, strict=True)]


def _depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, CONVOLUTIONS) and 1 < layer.groups == layer.in_channels


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
