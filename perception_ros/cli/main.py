"""The command `perception_ros`: a list of commands, each imported only when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
import sys
from typing import Annotated, Any, NamedTuple

import typer

from perception_ros import __version__
from perception_ros.core.errors import PerceptionError

_HELP = 'Camera perception: many cameras, one engine call, boxes and masks in pixels.'


class Command(NamedTuple):
    """Where a command lives, and what it does in one line."""

    target: str
    """'module:function', below `perception_ros.cli`; or an application with sub-commands."""
    help: str


COMMANDS: Mapping[str, Command] = {
    'run': Command('run:run', 'Find objects and masks in image files.'),
    'inspect': Command('inspect:inspect', 'Check a bundle and show what it says about itself.'),
    'quantize': Command('quantize:quantize', 'Make an FP16 or INT8 bundle, if it stays good.'),
    'evaluate': Command('evaluate:evaluate', 'Measure a bundle on labelled images.'),
    'evaluate-fusion': Command(
        'evaluate_fusion:evaluate_fusion', 'Measure boxes in space on labelled LiDAR sweeps.'
    ),
    'evaluate-tracking': Command(
        'evaluate_tracking:evaluate_tracking', 'Measure how well things keep their ids.'
    ),
    'calibration-check': Command(
        'calibration_check:calibration_check', 'Hold extrinsics against what LiDAR and images say.'
    ),
    'evaluate-calibration-check': Command(
        'evaluate_calibration_check:evaluate_calibration_check',
        'Measure how small an error of an extrinsic is found.',
    ),
    'label': Command('label:label', 'Label pictures with what a bundle says of them.'),
    'bundles': Command('bundles:bundles', 'List the bundles that are there.'),
    'bag': Command('bag:bag', 'Look into bags, cut them, and make labelled ones.'),
    'replay': Command('replay:replay', 'Play a bag through the pipeline, and judge the results.'),
    'compare': Command('compare:compare', 'Say what differs between two replays.'),
    'report': Command('report:report', 'Write the HTML report of a replay anew.'),
    'doctor': Command('doctor:doctor', 'Say what works here, what does not, and what to do.'),
    'demo': Command('demo:demo', 'Play pictures to the perception node over real topics.'),
    'parameters': Command('parameters:parameters', 'Print every parameter of the node.'),
    'top': Command('top:top', 'Show what a running node does, live.'),
    'bench': Command('bench:bench', 'Measure engines side by side: speed, memory, answers.'),
    'build': Command('build:build', 'Build TensorRT engines ahead of time.'),
    'cache': Command('cache:cache', 'List the engines that were built, or remove old ones.'),
    'import': Command('import_model:import_', 'Turn a foreign ONNX model into a bundle.'),
    'triton-repository': Command(
        'triton_repository:triton_repository', 'Write what a Triton server loads to serve bundles.'
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command that `arguments` (default: the command line's) name, and exit.

    Errors that this package raises on purpose become one line on stderr and exit status 1, and
    so does Ctrl-C, with status 130.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _app(arguments)(args=arguments, prog_name='perception_ros')
    except PerceptionError as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        complain('interrupted')
        sys.exit(130)


def complain(message: str) -> None:
    """Print one red line on stderr."""
    typer.secho(f'error: {" ".join(message.split())}', fg=typer.colors.RED, err=True)


def warn(message: str) -> None:
    """Print one yellow line on stderr."""
    typer.secho(f'warning: {" ".join(message.split())}', fg=typer.colors.YELLOW, err=True)


def split_names(text: str) -> tuple[str, ...]:
    """Return the names in 'front, rear'."""
    return tuple(part.strip() for part in text.split(',') if part.strip())


def _app(arguments: Sequence[str]) -> typer.Typer:
    """Return the application with the named command in full, and the others by their help."""
    named = next((argument for argument in arguments if not argument.startswith('-')), '')
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,  # a traceback of ours is for a bug report: plain text
        add_completion=False,
    )
    app.callback(help=_HELP)(_common)
    for name, command in COMMANDS.items():
        target = _load(command.target) if name == named else _not_called
        if isinstance(target, typer.Typer):
            app.add_typer(target, name=name, help=command.help)
        else:
            app.command(name, help=None if name == named else command.help)(target)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


def _common(
    version: Annotated[
        bool,
        typer.Option(
            '--version', callback=_print_version, is_eager=True, help='Print it and exit.'
        ),
    ] = False,
) -> None:
    """Take what may stand before the command."""


def _not_called() -> None:
    """Stand for a command that is listed but not called."""


def _load(target: str) -> Callable[..., Any] | typer.Typer:
    module, _, function = target.partition(':')
    loaded: Callable[..., Any] | typer.Typer = getattr(
        import_module(f'perception_ros.cli.{module}'), function
    )
    return loaded
