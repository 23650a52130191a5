"""Who does the work of a command."""

from __future__ import annotations

from typing import Annotated

import typer

from perception_ros.replay.crew import Crew

Workers = Annotated[
    int, typer.Option(min=1, help='That share the work here; more than one need Ray.')
]
Ray = Annotated[
    str, typer.Option(metavar='ADDRESS', help='Of a Ray cluster to use: auto, HOST:PORT.')
]
WorkerCpus = Annotated[float, typer.Option(help='CPUs of the cluster that a worker takes.')]
WorkerGpus = Annotated[float, typer.Option(help='GPUs of it; -1: one each, where it has some.')]


def crew_of(workers: int, ray: str, worker_cpus: float, worker_gpus: float) -> Crew:
    """Return the crew that the options name.

    :raises ReplayError: there cannot be such a one.
    """
    return Crew(workers, ray or None, worker_cpus, None if worker_gpus < 0 else worker_gpus)
