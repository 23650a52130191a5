"""What replaying costs beside the engine: images/s and memory, against a loop without the rest.

Each turn is a process of its own, so that its memory is its own too:

    python -m perception_ros.replay.speed bare drive.mcap config.yaml out
    {"images": 202, "seconds": 7.1, "peak_memory_bytes": 310000000}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
import json
from pathlib import Path
import subprocess
import sys
import time
from typing import Any, get_args, Literal

from perception_ros.backends.configured import open_model
from perception_ros.bags.bag import open_bag
from perception_ros.benchmarks.environment import Environment
from perception_ros.benchmarks.rounds import interleave, Side
from perception_ros.benchmarks.statistics import ratios, Spread
from perception_ros.core.errors import BenchmarkError, PerceptionError
from perception_ros.core.machine import peak_memory_bytes
from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.core.types import Frame
from perception_ros.replay.inputs import choose_cameras, read_inputs
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.run import play

Name = Literal['bare', 'tables', 'results']
"""A loop that decodes, letterboxes and infers; a replay that writes tables alone; a whole one."""
SIDES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True, slots=True)
class Turn:
    """What one process did."""

    images: int
    seconds: float
    """From the first image to the last table: opening engines is left out."""
    peak_memory_bytes: int
    """Of the whole process, engine included."""

    @property
    def images_per_s(self) -> float:
        """Its speed."""
        return self.images / self.seconds


@dataclass(frozen=True, slots=True)
class Measured:
    """All turns."""

    turns: Mapping[str, list[Turn]]
    environment: Environment

    def as_json(self) -> dict[str, Any]:
        """Return speeds, memory, and both against the bare loop of the same round."""
        bare = self.turns['bare']
        least = min(turn.peak_memory_bytes for turn in bare)
        sides = {}
        for name, turns in self.turns.items():
            ratio = ratios([t.images_per_s for t in turns], [t.images_per_s for t in bare])
            most = max(turn.peak_memory_bytes for turn in turns)
            sides[name] = {
                'images': turns[0].images,
                'images_per_s': Spread.of([turn.images_per_s for turn in turns]).model_dump(),
                'of_bare': ratio.model_dump() if ratio else None,
                'peak_memory_mb': round(most / 1e6, 1),
                'above_bare_mb': round((most - least) / 1e6, 1),
            }
        return {'sides': sides, 'environment': self.environment.model_dump(mode='json')}


def measure(
    bag: Path, config: Path, output: Path, rounds: int,
    announce: Callable[[int], None] = lambda done: None,
) -> Measured:
    """Let each side go through the bag once a round.

    :param output: folder for what the replays write.
    :raises BenchmarkError: one of them cannot.
    """
    environment = Environment.here()  # its load is that of others
    sides: dict[str, Side[Turn]] = {
        name: Side(lambda name=name: _in_a_process(name, bag, config, output))  # type: ignore[misc]
        for name in SIDES
    }
    interleave(list(sides.values()), rounds, announce)
    for side in sides.values():
        if side.problem:
            raise BenchmarkError(side.problem)
    return Measured({name: side.turns for name, side in sides.items()}, environment)


def _in_a_process(name: Name, bag: Path, config: Path, output: Path) -> Turn:
    command = [sys.executable, '-m', __name__, name, str(bag), str(config), str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f'status {done.returncode}']
        raise BenchmarkError(f'{name}: {last[0]}')
    return Turn(**json.loads(done.stdout.splitlines()[-1]))


def _bare(bag_path: Path, config_path: Path) -> Turn:
    """Decode, letterbox and infer as many images at once as the replay does, and forget them."""
    images, begun = 0, 0.0
    with open_bag(bag_path) as bag, ExitStack() as stack:
        config, topics = choose_cameras(bag, read_parameter_file(config_path))
        models = [open_model(name, config, ignore={}) for name in config.models]
        for model in models:
            stack.callback(model.engine.close)
        waiting: list[Frame] = []
        for _, frame in read_inputs(bag.messages([*topics.values()]), config, topics):
            begun = begun or time.perf_counter()
            if isinstance(frame, Frame):
                waiting.append(frame)
                images += 1
            if len(waiting) == len(config.cameras):
                for model in models:
                    for first in range(0, len(waiting), model.engine.info.max_batch):
                        request = model.engine.request()
                        flight = model.prepare(
                            request, waiting[first:first + model.engine.info.max_batch]
                        )
                        flight.start()
                        request.result()
                        request.release()
                waiting = []
    return _turn(images, begun)


def _replayed(bag: Path, config: Path, output: Path, *, has_results: bool) -> Turn:
    begun: list[float] = []
    images = 0

    def tell(share: float) -> None:
        nonlocal images
        if begun:
            images += 1
        else:  # the first image has been taken in by now
            begun.append(time.perf_counter())

    play(ReplayOptions(
        bag, output, read_parameter_file(config), has_results=has_results, overwrite=True,
    ), tell)
    return _turn(images, begun[0] if begun else 0.0)


def _turn(images: int, begun: float) -> Turn:
    if not images:
        raise BenchmarkError('expected a bag with images, got none')
    return Turn(images, time.perf_counter() - begun, peak_memory_bytes())


def _main(name: Name, bag: Path, config: Path, output: Path) -> None:
    turn = _bare(bag, config) if name == 'bare' else _replayed(
        bag, config, output / name, has_results=name == 'results'
    )
    print(json.dumps({
        'images': turn.images, 'seconds': turn.seconds,
        'peak_memory_bytes': turn.peak_memory_bytes,
    }))


if __name__ == '__main__':
    try:
        _main(sys.argv[1], *map(Path, sys.argv[2:5]))  # type: ignore[arg-type]
    except PerceptionError as error:
        sys.exit(str(error))
