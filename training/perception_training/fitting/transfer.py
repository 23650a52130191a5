"""Start from another run's weights, and hold layers still."""

from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import nn

from perception_training.config import Config
from perception_training.errors import CheckpointError, TrainingError
from perception_training.fitting import checkpoint
from perception_training.models import build
from perception_training.models.base import Network
from perception_training.models.form import AS_BUILT, form_in, reform


def take_over(network: Network, path: Path, blend: float = 1.0) -> str:
    """
    Copy the averaged weights of a checkpoint into layers of the same name and shape.

    These layers become `pretrained`; layers of new classes keep their random weights. The network
    takes the form of the checkpoint's first: pruned layers are pruned here too.

    :param blend: the checkpoint's share in layers that were pretrained before; what they started
        from has the rest. Weights that lie between two networks of one origin keep what the
        second one forgot, and most of what it learnt (Wortsman et al. 2022).
    :returns: what was taken over, and what was not, in a sentence.
    :raises CheckpointError: nothing fits, or there is nothing to blend with.
    """
    state, theirs = checkpoint.read(path)
    if network.form == AS_BUILT:
        reform(network, form_in(state, path))
    ours = network.state_dict()
    fitting = {name: tensor for name, tensor in state['average'].items()
               if name in ours and ours[name].shape == tensor.shape}
    if not fitting:
        raise CheckpointError(f'{path}: expected weights for layers of this network, none of '
                              f'those of model {theirs.model.name!r} fit')
    mixed = [name for name in fitting if blend < 1 and name.startswith(network.pretrained)]
    if blend < 1 and not mixed:
        raise CheckpointError('fit.start.blend: expected a network that starts from weights of '
                              'its own, with model.start; nothing here does')
    fitting |= {name: torch.lerp(ours[name], fitting[name], blend) for name in mixed
                if fitting[name].is_floating_point()}
    network.load_state_dict(fitting, strict=False)
    network.pretrained = tuple(fitting)
    new = sorted({name.rpartition('.')[0] for name in set(ours) - set(fitting)})
    rest = f'; new: {", ".join(new)}' if new else ''
    share = f', {blend:.0%} in {len(mixed)} that the start has too' if mixed else ''
    return f'{len(fitting)} of {len(ours)} tensors from {path}{share}{rest}'


def built(path: Path, state: checkpoint.State, config: Config) -> Network:
    """
    Build the averaged network of a checkpoint, as `checkpoint.read` gave it.

    :param config: settings of the same network.
    :raises CheckpointError: its tensors are those of another one.
    """
    network = build(config.model, config.labels)
    reform(network, form_in(state, path))
    try:
        network.load_state_dict(state['average'])
    except RuntimeError as error:
        first = ' '.join(str(error).split())[:200]
        raise CheckpointError(f'{path}: the checkpoint is of another network: {first}') from error
    return network.eval()


def freeze(network: nn.Module, patterns: tuple[str, ...]) -> int:
    """
    Take parameters out of training, by name with shell wildcards; return how many.

    :raises TrainingError: a pattern fits no parameter.
    """
    frozen = 0
    names = [name for name, _ in network.named_parameters()]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            close = get_close_matches(pattern, names, n=1, cutoff=0.3)
            raise TrainingError(f'fit.start.freeze: {pattern!r} fits no layer; there is for '
                                f'example {(close or names[:1])[0]!r}')
    for name, parameter in network.named_parameters():
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            parameter.requires_grad_(False)
            frozen += 1
    return frozen


def thaw(network: nn.Module) -> None:
    """Let all parameters learn again."""
    network.requires_grad_(True)


def train_mode(network: nn.Module) -> None:
    """Switch to training; normalisation that is frozen keeps its statistics too."""
    network.train()
    for module in network.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            module.eval()
