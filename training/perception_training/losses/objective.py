"""From a network and a batch to the one number that is made smaller."""

import torch
from torch import nn, Tensor

from perception_training.config.compress import DistilConfig
from perception_training.config.loss import LossConfig, SemanticLossConfig
from perception_training.data.sample import Batch, to_input
from perception_training.losses.distil import distil_losses, Taught
from perception_training.models.base import BOXES, Network, Terms


class Objective(nn.Module):
    """
    A network with its losses, as one module: what is compiled, and wrapped for many processes.

    Call it with a batch on its device, and with what a teacher says of it, if there is one: the
    loss, and every term, unweighted (but a teacher's) and detached.
    """

    def __init__(self, network: Network, config: LossConfig,
                 autocast: torch.dtype | None = None, channels_last: bool = False,
                 distil: DistilConfig | None = None) -> None:
        """
        Put them together.

        :param autocast: type of activations; None: that of the weights.
        :param distil: what a teacher's word weighs.
        """
        super().__init__()
        self.network = network
        self._config, self._distil = config, distil
        self._autocast = autocast
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        # Logarithms of the variances of the heads' errors (Kendall et al. 2018).
        self.variances = nn.ParameterDict({
            head: nn.Parameter(torch.zeros(())) for head in network.tasks}) \
            if config.balance == 'uncertainty' else nn.ParameterDict()

    def forward(self, batch: Batch,
                taught: Taught | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        images = to_input(batch.images).contiguous(memory_format=self._format)
        with torch.autocast(images.device.type, self._autocast,
                            enabled=self._autocast is not None):
            raw = self.network(images)
        terms = self.network.losses(raw, batch, self._config)
        total = self._total(terms)
        said = {f'{head}/{name}': value.detach() for head, each in terms.items()
                for name, value in each.items()}
        if taught is not None and self._distil is not None:
            costs = distil_losses(self.network, raw, batch, taught, self._distil, self._config)
            total = total + torch.stack(list(costs.values())).sum()
            said |= {f'{head}/teacher': value.detach() for head, value in costs.items()}
        return total, said

    def _total(self, terms: Terms) -> Tensor:
        costs = []
        for head, each in terms.items():
            weights = self._config.detection if head == BOXES else self._config.semantic.get(
                head, SemanticLossConfig())
            weighed = [getattr(weights, name) * value for name, value in each.items()]
            cost = self._config.heads.get(head, 1.0) * torch.stack(weighed).sum()
            if head in self.variances:
                cost = cost * torch.exp(-self.variances[head]) + self.variances[head]
            costs.append(cost)
        return torch.stack(costs).sum()
