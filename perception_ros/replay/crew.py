"""Who does the work: this process, or workers of a Ray cluster, which may be lost on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
import math
import os
from pathlib import Path
import socket
from typing import Any, NamedTuple, TypeVar

from perception_ros.core.errors import PerceptionError, ReplayError

Item = TypeVar('Item')

SHARES = 4
"""Of the work for each worker: enough that none has to wait long for the last one."""
RETRIES = 3
"""How often a task is given to another worker when its own is lost."""

_PATIENCE_S = 10.0
_KNOCKS = 1
"""Of Ray at what answers, but is no Ray: 40 s each. It would knock 20 times."""
_OBJECT_STORE_BYTES = 128 << 20
"""Of a cluster that is started here. Workers read bags and write tables themselves."""


@dataclass(frozen=True, slots=True)
class Crew:
    """How many work at once, and where.

    A task is called with one item, in any process, and may be called twice with the same one: what
    it writes must then be the same.
    """

    workers: int = 1
    """Of a cluster that is started here, unless this process has one already; 1 without an
    address: this process."""
    address: str | None = None
    """Of a Ray cluster that is there: auto, HOST:PORT, or ray://HOST:PORT."""
    cpus: float = 1.0
    """That a worker takes of the cluster's."""
    gpus: float | None = None
    """None: one each where the cluster has any."""

    def __post_init__(self) -> None:
        """Raise ReplayError for what cannot be."""
        if self.workers < 1 or self.cpus <= 0 or (self.gpus or 0) < 0:
            raise ReplayError(
                f'expected at least one worker with some share of a CPU, got {self.workers} with '
                f'{self.cpus:g} CPUs and {self.gpus or 0:g} GPUs'
            )

    @property
    def is_alone(self) -> bool:
        """Whether all is done in this process."""
        return self.workers == 1 and self.address is None

    @contextmanager
    def at_work(self) -> Iterator[Team]:
        """Give those who do tasks.

        :raises ReplayError: there is no such cluster, or it has no room for a worker.
        """
        if self.is_alone:
            yield Team(1, _one_by_one)
            return
        ray = _library()
        with _connected(ray, self):
            needs = _needs(ray, self)
            yield Team(_room(ray, needs), partial(_spread, ray, needs))


Answers = Iterator[tuple[Any, PerceptionError | None]]


class Team(NamedTuple):
    """A crew at work."""

    workers: int
    """That there is room for now; more may join."""
    spread: Callable[[Callable[[Any], None], Sequence[Any]], Answers]
    """Has a task done for each of some items, and yields each once it is done, in any order, with
    the error that it ended with."""


def _one_by_one(task: Callable[[Any], None], items: Sequence[Any]) -> Answers:
    for item in items:
        yield item, _tried(task, item)


class _Needs(NamedTuple):
    """What a worker takes of a machine."""

    cpus: float
    gpus: float


def _needs(ray: Any, crew: Crew) -> _Needs:
    gpus = crew.gpus
    if gpus is None:
        gpus = 1.0 if ray.cluster_resources().get('GPU') else 0.0
    return _Needs(crew.cpus, gpus)


def _room(ray: Any, needs: _Needs) -> int:
    """Return how many workers can be at work at once.

    :raises ReplayError: not one can; Ray itself would wait for a machine for ever.
    """
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    has = [(machine.get('CPU', 0.0), machine.get('GPU', 0.0)) for machine in machines]
    room = sum(
        int(min(cpus / needs.cpus, gpus / needs.gpus if needs.gpus else math.inf))
        for cpus, gpus in has
    )
    if not room:
        found = ', '.join(f'{cpus:g} and {gpus:g}' for cpus, gpus in has)
        raise ReplayError(
            f'a worker takes {needs.cpus:g} CPUs and {needs.gpus:g} GPUs, and no machine of the '
            f'cluster has as many: they have {found}. Give less with --worker-cpus and '
            '--worker-gpus, or add a machine'
        )
    return room


def _spread(
    ray: Any, needs: _Needs, task: Callable[[Any], None], items: Sequence[Any]
) -> Answers:
    remote = ray.remote(_elsewhere).options(
        num_cpus=needs.cpus, num_gpus=needs.gpus, max_retries=RETRIES, name='perception_ros'
    )
    waiting = {remote.remote(str(Path.cwd()), task, item): item for item in items}
    while waiting:
        [done], _ = ray.wait([*waiting], num_returns=1)
        item = waiting.pop(done)
        try:
            yield item, ray.get(done)
        except ray.exceptions.RayError as error:
            last = str(error).strip().splitlines()[-1]
            yield item, ReplayError(
                f'a worker was lost {RETRIES + 1} times over one task, or cannot do it: {last}'
            )


def _elsewhere(folder: str, task: Callable[[Any], None], item: Any) -> PerceptionError | None:
    """Do a task in a worker, in the folder that the command was given in."""
    os.chdir(folder)
    return _tried(task, item)


def _tried(task: Callable[[Any], None], item: Any) -> PerceptionError | None:
    try:
        task(item)
    except PerceptionError as error:
        return error
    return None


@contextmanager
def _connected(ray: Any, crew: Crew) -> Iterator[None]:
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    # What it will be; as long as nobody says so, a warning does.
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
    if crew.address is None and ray.is_initialized():
        yield
        return
    quiet = {'log_to_driver': False, 'logging_level': 'ERROR'}
    try:
        _knock(crew.address)
        if crew.address is None:
            ray.init(
                num_cpus=math.ceil(crew.workers * crew.cpus), include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES, **quiet,
            )
        else:
            os.environ.setdefault('RAY_gcs_server_port_wait_time_s', str(_KNOCKS))
            ray.init(address=crew.address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise ReplayError(
            f'no Ray cluster at {crew.address or "this machine"}: expected one that runs there, '
            f'such as `ray start --head` starts; {str(error).strip().splitlines()[0]}'
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """See whether anybody is there; Ray itself would try for many minutes.

    :raises OSError: nobody is.
    :raises ValueError: it is no address.
    """
    if address in (None, 'auto', 'local'):
        return
    host, colon, port = str(address).removeprefix('ray://').rpartition(':')
    if not (host and colon and port.isdecimal() and int(port) < 1 << 16):
        raise ValueError('an address is auto, HOST:PORT or ray://HOST:PORT')
    socket.create_connection((host, int(port)), _PATIENCE_S).close()


def _library() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ReplayError(
            f'several workers need Ray: {error}; pip install ray, or the extra perception_ros[ray]'
        ) from error
    return ray
