"""One process or many: torchrun says which of them this is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
import os

import torch
from torch import distributed, nn, Tensor
from torch.distributed.nn.functional import all_reduce

from perception_training.config.fit import FitConfig
from perception_training.errors import TrainingError
from perception_training.losses.everywhere import processes

# The others wait while the first one measures, or asks teachers.
PATIENCE = timedelta(hours=3)
OWN_STORE = 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE'


@dataclass(frozen=True)
class Place:
    """Where this process stands."""

    device: torch.device
    rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this one writes and speaks for all."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait until all processes are here."""
        if self.processes > 1:
            distributed.barrier()

    def mean(self, values: Tensor) -> Tensor:
        """Give the mean over all processes."""
        if self.processes > 1:
            distributed.all_reduce(values)
        return values / self.processes

    def of_first(self, value: float) -> float:
        """Give every process what the first one has."""
        if self.processes == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=self.device)
        distributed.broadcast(tensor, 0)
        return float(tensor)


@contextmanager
def joined(config: FitConfig) -> Iterator[Place]:
    """
    Join the processes that torchrun started, or stand alone.

    :raises TrainingError: a GPU is asked for, and there is none for this process.
    """
    local = int(os.environ.get('LOCAL_RANK', 0))
    device = _device(config, local)
    if 'RANK' not in os.environ:
        yield Place(device)
        return
    store, rank, count = next(distributed.rendezvous('env://', timeout=PATIENCE))
    if _shared_store():
        # torchrun keeps its store when it starts processes again: the addresses of those that
        # died are still in it, and a new process that reads one waits for an answer for ever.
        attempt = os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')
        store = distributed.PrefixStore(f'attempt_{attempt}', store)
    distributed.init_process_group(
        'nccl' if device.type == 'cuda' else 'gloo', timeout=PATIENCE, rank=rank,
        world_size=count, store=store,
        device_id=device if device.type == 'cuda' else None)
    try:
        yield Place(device, rank, count)
    finally:
        distributed.destroy_process_group()


def warning() -> str | None:
    """Say what is wrong with the way that torchrun was started."""
    machines = int(os.environ.get('GROUP_WORLD_SIZE', 1))
    restarts = int(os.environ.get('TORCHELASTIC_MAX_RESTARTS', 0))
    if machines == 1 or restarts == 0 or not _shared_store():
        return None
    # torchrun tells nobody again where the store is that it kept.
    return (f'WARNING: {machines} machines, and torchrun keeps one store for all attempts: a '
            f'machine that comes back will not be let in; start torchrun with {OWN_STORE}=1')


def _shared_store() -> bool:
    return os.environ.get('TORCHELASTIC_USE_AGENT_STORE') == 'True'


def _device(config: FitConfig, local: int) -> torch.device:
    there = torch.cuda.device_count()
    if config.device == 'cpu' or (config.device == 'auto' and there == 0):
        return torch.device('cpu')
    if local >= there:
        raise TrainingError(
            f'fit.device {config.device}: expected a GPU for process {local} of this machine, '
            f'torch sees {there}; start fewer processes, or set fit.device=cpu')
    device = torch.device('cuda', local)
    torch.cuda.set_device(device)
    return device


class EverywhereNorm(nn.BatchNorm2d):
    """Batch normalisation over all processes; torch's own needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or processes() == 1:
            return super().forward(x)
        wide = x.float()
        count = torch.full((1,), wide.numel() / wide.shape[1], device=x.device)
        sums = torch.cat((wide.sum((0, 2, 3)), wide.square().sum((0, 2, 3)), count))
        sums = all_reduce(sums)
        mean, square = (sums[:-1] / sums[-1]).chunk(2)
        spread = (square - mean.square()).clamp(min=0)
        self._remember(mean.detach(), (spread * sums[-1] / (sums[-1] - 1)).detach())
        # Normalised with given statistics: gradients flow through them as well.
        scale = torch.rsqrt(spread + self.eps) * self.weight
        shift = self.bias - mean * scale
        return (wide * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    def _remember(self, mean: Tensor, spread: Tensor) -> None:
        assert self.momentum is not None and self.num_batches_tracked is not None
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(spread, self.momentum)


def synchronise_norms(network: nn.Module, device: torch.device) -> None:
    """Let batch normalisation see the batches of all processes."""
    if device.type == 'cuda':
        nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return
    for name, child in network.named_children():
        if type(child) is nn.BatchNorm2d:
            wide = EverywhereNorm(child.num_features, child.eps, child.momentum)
            wide.load_state_dict(child.state_dict())
            setattr(network, name, wide)
        else:
            synchronise_norms(child, device)
