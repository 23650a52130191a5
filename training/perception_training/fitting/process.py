"""What a process needs to run fast, and to repeat."""

import os
import sys

import torch

from perception_training.config.fit import FitConfig

# glibc gives every big tensor back to the kernel and faults it in again: 3.5 times slower.
# Threads that spin while they wait take a busy machine's cores from each other.
ENVIRONMENT = {
    'MALLOC_MMAP_MAX_': '0', 'MALLOC_TRIM_THRESHOLD_': str(10 ** 11),
    'MALLOC_TOP_PAD_': str(2 ** 28), 'THP_MEM_ALLOC_ENABLE': '1', 'OMP_WAIT_POLICY': 'PASSIVE',
    # cuBLAS repeats itself only with a workspace of a fixed size.
    'CUBLAS_WORKSPACE_CONFIG': ':4096:8'}


def tune_process() -> None:
    """Start this process again with an allocator that keeps its memory, unless it has it."""
    if any(key not in os.environ for key in ENVIRONMENT):
        os.environ.update({k: os.environ.get(k, v) for k, v in ENVIRONMENT.items()})
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def prepare_torch(config: FitConfig) -> None:
    """Set what holds for the whole process: threads, and whether operators must repeat."""
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic != torch.are_deterministic_algorithms_enabled():
        # Not without need: it imports the whole compiler, which takes seconds.
        torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic
