"""Configurations and checkpoints of transformers, strictly: nothing is ignored in silence."""

from collections.abc import Mapping, Sequence
import copy
from typing import Any

from huggingface_hub.errors import StrictDataclassError
import torch
from torch import Tensor
import transformers

from perception_training.errors import CheckpointError, TrainingError


def configured(kind: type[transformers.PreTrainedConfig],
               settings: Mapping[str, Any]) -> transformers.PreTrainedConfig:
    """
    Give a configuration of the library, which itself would keep a mistyped setting unread.

    :raises TrainingError: there is no such setting, or it cannot have this value.
    """
    known = set(kind().to_dict()) | {'num_labels'}
    if unknown := sorted(set(settings) - known):
        raise TrainingError(f'model.library: {kind.__name__} has no {unknown}; it has '
                            f'{sorted(known)}')
    try:
        made: transformers.PreTrainedConfig = kind(**settings)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise TrainingError(f'model.library: {" ".join(str(error).split())}') from error
    return made


@torch.no_grad()
def take_weights(ours: transformers.PreTrainedModel, source: str, new: tuple[str, ...] = (),
                 class_layers: tuple[str, ...] = (), classes: Sequence[str] = ()) -> set[str]:
    """
    Start a model from a checkpoint of the same size: a folder, or a name on the library's hub.

    Only safetensors are read, for a pickle may hold code.

    :param new: beginnings of the names of layers that the checkpoint need not have.
    :param class_layers: parts of the names of layers with a row for each class. They take the
        rows of the classes that the checkpoint calls alike, if it has all of them.
    :returns: the names of tensors that keep the weights that they have.
    :raises CheckpointError: it cannot be read, or is of another size or network.
    """
    kind = type(ours)
    try:
        theirs_config = transformers.AutoConfig.from_pretrained(source)
        if theirs_config.model_type != ours.config.model_type:
            raise CheckpointError(
                f'model.weights: {source} is a {theirs_config.model_type}; expected a '
                f'{ours.config.model_type}')
        config = copy.deepcopy(ours.config)
        config.id2label = theirs_config.id2label
        theirs, info = kind.from_pretrained(
            source, config=config, output_loading_info=True, ignore_mismatched_sizes=True,
            use_safetensors=True)
    except (OSError, StrictDataclassError, ValueError) as error:
        raise CheckpointError(
            f'model.weights: {source} is no checkpoint that can be read, expected a folder with '
            f'config.json and model.safetensors, or a name on the hub: '
            f'{" ".join(str(error).split())[:200]}') from error
    wrong = sorted(str(item[0]) for item in info['mismatched_keys']) + sorted(
        name for name in info['missing_keys'] if not name.startswith(new or '\0'))
    if wrong:
        raise CheckpointError(f'model.weights: {source} is of another size: {wrong[0]} and '
                              f'{len(wrong) - 1} more do not fit; set model.size to its')
    names = [theirs_config.id2label[i] for i in range(len(theirs_config.id2label))]
    known = bool(classes) and set(classes) <= set(names)
    rows = torch.tensor([names.index(name) for name in classes]) if known else None
    taken, kept = theirs.state_dict(), set(info['missing_keys'])
    for name, tensor in ours.state_dict().items():
        if any(part in name for part in class_layers):
            if rows is None:
                kept.add(name)
            else:
                tensor.copy_(_of_classes(taken[name], rows, len(names)))
        elif name not in kept:
            tensor.copy_(taken[name])
    return kept


def _of_classes(tensor: Tensor, rows: Tensor, classes: int) -> Tensor:
    """Pick rows; one behind those of the classes stands for none of them and stays the last."""
    return torch.cat((tensor[rows], tensor[classes:]))
