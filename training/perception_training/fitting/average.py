"""The running average of weights, which is what is measured and delivered."""

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """
    Move an average towards the network, buffers too.

    :param step: steps that are done; the average starts as a short one, so that it forgets the
        first of them.
    """
    decay = min(decay, (1 + step) / (10 + step))
    # Not of `state_dict`, which repeats a parameter that several layers share.
    kept, new = ([*each.parameters(), *each.buffers()] for each in (average, network))
    pairs = [(k, n) for k, n in zip(kept, new, strict=True) if k.is_floating_point()]
    torch._foreach_lerp_([k for k, _ in pairs], [n for _, n in pairs], 1 - decay)
    for whole, latest in zip(kept, new, strict=True):
        if not whole.is_floating_point():
            whole.copy_(latest)
