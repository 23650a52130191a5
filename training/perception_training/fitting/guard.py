"""When a step goes wrong: what to keep, and what to say."""

from pathlib import Path
import re

import numpy as np
import torch

from perception_training.config import Config
from perception_training.data.sample import Batch
from perception_training.errors import TrainingError

# What torch, the C++ library, oneDNN and the kernel say; and who kills a process that makes
# batches is nearly always the kernel, for the memory.
MEMORY = re.compile("can't allocate memory|not enough memory|bad_alloc|Cannot allocate memory|"
                    'could not create a (memory|primitive(?! desc))|'
                    r'DataLoader worker \(pid.*(killed by signal: Killed|exited unexpectedly)')


def loss_is_not_finite(config: Config, batch: Batch, terms: dict[str, float], step: int,
                       rank: int) -> TrainingError:
    """Keep the batch beside the run, and give the error that says where."""
    path = config.run_dir / f'bad_batch_{step}_{rank}.npz'
    keep_batch(batch, path)
    wrong = sorted(name for name, value in terms.items() if not np.isfinite(value))
    return TrainingError(
        f'the loss at step {step} is not finite: {", ".join(wrong) or "their sum"}; its batch is '
        f'in {path} ({", ".join(batch.names)}). Look at its labels; else lower fit.optimiser.lr, '
        'lengthen fit.schedule.warmup, or leave fit.precision at fp32, and start again: the last '
        'checkpoint is from before')


def keep_batch(batch: Batch, path: Path) -> None:
    """Write a batch as plain arrays."""
    arrays = {name: getattr(batch, name).cpu().numpy() for name in (
        'images', 'boxes', 'labels', 'labelled', 'masks', 'semantic_weight')}
    heads = {f'semantic_{head}': ids.cpu().numpy() for head, ids in batch.semantic.items()}
    np.savez_compressed(path, names=np.array(batch.names), **arrays, **heads)


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Say whether an error is about memory, of a GPU or of the machine."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        re.search(MEMORY, str(error)) is not None)


def out_of_memory(config: Config, error: RuntimeError | MemoryError) -> TrainingError:
    """Give the error that says what to make smaller."""
    fit, view = config.fit, config.augment
    first = (str(error).strip() or type(error).__name__).splitlines()[0]
    if 'DataLoader' in first:
        return TrainingError(
            f'a process that makes batches was killed, most likely for want of memory: {first} '
            f'Try less than data.workers={config.data.workers} or '
            f'data.prefetch={config.data.prefetch}, or keep fewer images in memory (cache)')
    halved, doubled = max(fit.batch // 2, 1), fit.accumulate * 2
    advice = []
    if fit.batch > 1:
        advice.append(f'fit.batch={halved} fit.accumulate={doubled} (the same images a step)')
    if fit.precision == 'fp32':
        advice.append('fit.precision=bf16')
    advice.append(f'a smaller view than augment.width={view.width} augment.height={view.height}')
    return TrainingError(f'out of memory with batches of {fit.batch}: {first} Try '
                         + ', or '.join(advice)
                         + '; perception_train find-batch says how many fit')
