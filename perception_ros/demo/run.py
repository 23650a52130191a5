"""The demonstration from start to end: two processes, real topics, everything counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
import json
import os
from pathlib import Path
import re
import shutil
import time
from typing import Any

import yaml

from perception_ros.bags import open_input
from perception_ros.bundles import Bundle
from perception_ros.core.errors import ConfigError
from perception_ros.core.files import write_text
from perception_ros.core.parameters import PERCEPTION
from perception_ros.core.sources import DEFAULT_CAMERAS
from perception_ros.core.topics import topic_names
from perception_ros.demo.harvest import Harvest, write_film
from perception_ros.demo.listener import Listener
from perception_ros.demo.pace import comfortable_rate_hz
from perception_ros.demo.processes import DemoError, NodeProcess
from perception_ros.demo.references import find_references, import_reference
from perception_ros.demo.summary import summarise
from perception_ros.ros.domain import chosen_domain, free_domain, private_environment

OWN_MODEL = 'roadscene'

_APPEAR_S = 60.0
_CONFIGURE_S = 300.0
"""An engine may have to be built."""
_QUIET_S = 3.0
"""After the last frame the run is over when all is there, or nothing has come for so long."""
_FINISH_S = 180.0
"""When the node is deactivated it still finishes what is in its engines."""
_LAST_S = 0.5
"""How long the answers of that may be under way."""
_FIRST_ANSWER_S = 120.0
_PLAYER_QUEUE = 50
_PARAMETERS = 'perception_node.yaml'
"""Written first, and so the mark of a folder of ours."""
_RESULTS = ('frames', 'summary.json', 'demo.mp4', 'player.json', 'perception_node.json')


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What to show.

    `models` are names of shipped bundles or folders, empty for the usual; `rate_hz` 0 is as fast
    as all models keep up.
    """

    input: Path
    output: Path
    models: tuple[str, ...] = ()
    references: Path | None = None
    cache: Path = Path('.cache/demo')
    cameras: tuple[str, ...] = DEFAULT_CAMERAS
    frames: int = 40
    rate_hz: float = 0.0
    transport: str = 'raw'
    backend: str = 'auto'


@dataclass(slots=True)
class Progress:
    """What is going on, for a progress bar."""

    doing: str = ''
    sets: int = 0
    latency_p95_ms: float = 0.0


Report = Callable[[Progress], None]


def run_demo(options: DemoOptions, report: Report) -> dict[str, Any]:
    """Run the demonstration and return what `summary.json` holds.

    :param report: called often while it runs.
    :raises PerceptionError: the input, a model or a process is not as it should be.
    """
    progress = Progress()

    def announce(doing: str) -> None:
        progress.doing = doing
        report(progress)

    announce('looking at the input')
    cameras = open_input(options.input, options.cameras).cameras
    bundles = _bundles(options, announce)
    if not options.rate_hz:
        announce('measuring how fast the models are')
        rate_hz = comfortable_rate_hz(bundles.values(), options.backend, len(cameras))
        options = replace(options, rate_hz=rate_hz)
    _make_room(options.output, options.input)
    harvest = Harvest(options.output / 'frames')
    chosen = chosen_domain()
    domain = free_domain() if chosen is None else chosen
    environment = private_environment(domain)
    # the listener's context reads it from here
    os.environ.update(environment)

    with ExitStack() as stack:
        node = stack.enter_context(
            NodeProcess(
                'perception_ros.nodes.perception_node',
                ['--params-file', str(_write_parameters(options, cameras, bundles))],
                options.output / 'perception_node.log',
                environment,
            )
        )
        listener = stack.enter_context(Listener(domain, harvest, node.check))
        announce('opening the models')
        try:
            listener.change_state('configure', _APPEAR_S + _CONFIGURE_S)
            outputs = {name: bundle.manifest.outputs for name, bundle in bundles.items()}
            names = {'camera_names': cameras, 'model_names': bundles}
            config = PERCEPTION.build({}, names)
            listener.listen(topic_names(config, outputs), cameras)
            listener.change_state('activate', _APPEAR_S)
            listener.wait_for_publishers(_APPEAR_S)
        except DemoError as error:
            raise DemoError(str(error), error.details or node.log_tail()) from error

        announce('playing')
        player_report = options.output / 'player.json'
        player = stack.enter_context(
            NodeProcess(
                'perception_ros.nodes.player_node',
                _player_arguments(options, player_report),
                options.output / 'player_node.log',
                environment,
            )
        )
        begun_s = time.monotonic()
        while player.is_running:
            listener.spin(0.2)
            _update(progress, harvest)
            report(progress)
            if not progress.sets and time.monotonic() - begun_s > _FIRST_ANSWER_S:
                raise DemoError(
                    f'no answer within {_FIRST_ANSWER_S:.0f} s: expected the player and the '
                    'perception node to find each other over DDS. Is the loopback network up, '
                    'and multicast on it allowed?',
                    node.log_tail(),
                )
        player.check(may_end=True)
        played = json.loads(player_report.read_text())
        announce('waiting for the last answers')
        while not _is_over(listener, played['sets']):
            listener.spin(0.1)
            _update(progress, harvest)
            report(progress)
        listener.change_state('deactivate', _FINISH_S)
        listener.spin(_LAST_S)
        listener.change_state('cleanup', _APPEAR_S)

    announce('writing the film')
    harvest.number_pictures()
    film = options.output / 'demo.mp4'
    write_film(harvest, cameras, film, options.rate_hz)
    counted = json.loads((options.output / 'perception_node.json').read_text())
    summary = summarise(played, counted, harvest, domain)
    write_text(options.output / 'summary.json', json.dumps(summary, indent=2) + '\n')
    return summary


def _bundles(options: DemoOptions, announce: Callable[[str], None]) -> dict[str, Bundle]:
    """Return the models to run by name: those asked for, or ours and the references at hand."""
    places: list[str | Path] = [*(options.models or (OWN_MODEL,))]
    if options.references is not None and not options.models:
        for name in find_references(options.references):
            places.append(
                import_reference(name, options.references, options.cache / 'models', announce)
            )
    bundles: dict[str, Bundle] = {}
    for place in places:
        name = re.sub(r'\W', '_', Path(place).name, flags=re.ASCII)
        if name in bundles:
            raise ConfigError(
                f'{bundles[name].path} and {place} would both be model {name!r}: expected folders '
                'of different names; rename or copy one'
            )
        bundles[name] = Bundle.load(place)
    return bundles


def _make_room(output: Path, source: Path) -> None:
    """Remove what an earlier run left, so that nothing old is taken for new.

    :raises ConfigError: what is there is not a demonstration's, or is what is to be played.
    """
    if output.resolve() in (source.resolve(), *source.resolve().parents):
        raise ConfigError(
            f'the input {source} lies in the output folder {output}, where results of earlier '
            'runs are removed: expected another output folder'
        )
    left = [path for path in (output / name for name in _RESULTS) if path.exists()]
    if left and not (output / _PARAMETERS).is_file():
        raise ConfigError(
            f'{left[0]} is not of an earlier demonstration, and would be removed: expected an '
            'output folder of its own'
        )
    try:
        output.mkdir(parents=True, exist_ok=True)
        for path in left:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
    except OSError as error:
        raise ConfigError(f'{output}: cannot be written; {error.strerror}') from error


def _write_parameters(
    options: DemoOptions, cameras: tuple[str, ...], bundles: Mapping[str, Bundle]
) -> Path:
    """Write the perception node's parameters, and keep them as an example beside the results."""
    camera = {'transport': options.transport, 'reliability': 'reliable', 'queue_depth': 50}
    parameters = {
        'camera_names': list(cameras),
        'model_names': list(bundles),
        'cameras': {name: dict(camera) for name in cameras},
        'models': {
            name: {'bundle': str(bundle.path.resolve()), 'backend': options.backend}
            for name, bundle in bundles.items()
        },
        # A slow machine shall show whole sets and late answers rather than none.
        'synchronizer': {'max_wait_ms': min(500.0, 500.0 / options.rate_hz)},
        'max_age_ms': 10_000.0,
        'summary_file': str((options.output / 'perception_node.json').resolve()),
    }
    path = options.output / _PARAMETERS
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False))
    return path


def _player_arguments(options: DemoOptions, report: Path) -> list[str]:
    parameters = {
        # quoted: a file named 1 is a name, and no number
        'input': json.dumps(str(options.input.resolve())),
        'cameras': json.dumps(list(options.cameras)),
        'frames': options.frames,
        'rate_hz': float(options.rate_hz),
        'transport': options.transport,
        'reliability': 'reliable',
        'queue_depth': _PLAYER_QUEUE,
        'wait_for_subscribers': 1,
        'report': json.dumps(str(report.resolve())),
    }
    return [part for name, value in parameters.items() for part in ('-p', f'{name}:={value}')]


def _update(progress: Progress, harvest: Harvest) -> None:
    progress.sets = len(harvest.stamps())
    progress.latency_p95_ms = max(harvest.latency_p95_ms.values(), default=0.0)


def _is_over(listener: Listener, sets: int) -> bool:
    is_complete = all(count >= sets for count in listener.results.values())
    return is_complete or time.monotonic() - listener.last_result_s > _QUIET_S
