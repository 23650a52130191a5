"""`perception_ros build`: engines ahead of time, so that no start has to wait for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
import json
import logging
from pathlib import Path
from typing import Annotated, Any, get_args

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
import typer

from perception_ros.backends.base import EngineOptions, HardwareCompatibility
from perception_ros.backends.tensorrt import gpu_here
from perception_ros.backends.tensorrt.engine import deserialize
from perception_ros.backends.tensorrt.inspector import layers_of
from perception_ros.backends.tensorrt.library import Library, LibraryName, load_library
from perception_ros.backends.tensorrt.plans import Plan, plan_for
from perception_ros.bundles import Bundle
from perception_ros.cli.main import complain
from perception_ros.core.errors import ConfigError, PerceptionError
from perception_ros.core.files import write_bytes


def build(
    bundles: Annotated[
        list[str],
        typer.Argument(help='Their folders, or names of shipped ones.', metavar='BUNDLE...'),
    ],
    backend: Annotated[str, typer.Option(help='tensorrt or tensorrt_rtx.')] = 'tensorrt',
    max_batch: Annotated[
        int, typer.Option(min=1, max=256, help='Most images in one engine call.')
    ] = 8,
    optimal_batch: Annotated[
        int, typer.Option(min=0, max=256, help='Batch size to tune for; 0: --max-batch.')
    ] = 0,
    hardware_compatibility: Annotated[
        str, typer.Option(help='none, ampere_plus or same_compute_capability.')
    ] = 'none',
    dla_core: Annotated[
        int, typer.Option(min=-1, max=7, help='Build for this DLA core; -1: for the GPU.')
    ] = -1,
    output: Annotated[
        Path | None, typer.Option(help='Also write <bundle>.plan into this folder.')
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help='Also write what became of the layers, <bundle>.json, into here.'),
    ] = None,
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON, no table.')] = False,
) -> None:
    """Build engines ahead of time and keep them in the engine store, where a start finds them.

    An engine is for these options, this version of the library and this GPU; the node asks for
    one with its own parameters, which have the same names. A bundle that cannot be built is
    reported, the others are built, and the exit status is 1.
    """
    library = load_library(_one_of(LibraryName, backend, '--backend'))
    options = EngineOptions(
        max_batch=max_batch,
        optimal_batch=optimal_batch,
        hardware_compatibility=_one_of(
            HardwareCompatibility, hardware_compatibility, '--hardware-compatibility'
        ),
        dla_core=dla_core,
    )
    gpu = gpu_here(library)
    console = Console(stderr=True)
    plans: dict[str, Plan] = {}
    failed = False
    with _log_to(console):
        for reference in bundles:
            try:
                bundle = Bundle.load(reference)
                plans[reference] = _build(bundle, options, library, gpu, console)
                payload = plans[reference].payload
                if output:
                    _write(output / f'{bundle.manifest.name}.plan', payload)
                if report:
                    layers = layers_of(deserialize(payload, dla_core, library), library)
                    path = report / f'{bundle.manifest.name}.json'
                    _write(path, json.dumps(layers, indent=2).encode())
            except PerceptionError as error:
                complain(str(error))
                failed = True
    if as_json:
        typer.echo(json.dumps({'built': [_facts(*item) for item in plans.items()]}, indent=2))
    elif plans:
        Console().print(_table(plans, library, gpu))
    if failed:
        raise typer.Exit(1)


def _one_of(choices: Any, value: str, option: str) -> Any:
    """Return a value that is one of a Literal's."""
    known = get_args(choices)
    if value not in known:
        raise ConfigError(f'{option} {value!r}: expected {", ".join(known[:-1])} or {known[-1]}')
    return value


def _build(
    bundle: Bundle, options: EngineOptions, library: Library, gpu: str, console: Console
) -> Plan:
    """Return a bundle's plan; a terminal shows how far it is, elsewhere the log tells."""
    if not console.is_terminal:
        return plan_for(bundle, options, library, gpu)
    columns = (
        TextColumn('{task.description}'), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    )
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(bundle.manifest.name, total=1.0)

        def show(phase: str, done: float) -> None:
            bars.update(bar, completed=done, description=f'{bundle.manifest.name}: {phase}')

        return plan_for(bundle, options, library, gpu, progress=show)


class _ConsoleHandler(logging.Handler):
    """Prints what is logged as lines above the progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        self._console.print(record.getMessage(), soft_wrap=True, markup=False, highlight=False)


@contextmanager
def _log_to(console: Console) -> Iterator[None]:
    """Show for whom a build waits, how far it is, and why an engine cannot be stored."""
    log = logging.getLogger('perception_ros')
    handler, level = _ConsoleHandler(console), log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def _write(path: Path, payload: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, payload)
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written; {error.strerror}') from error


def _facts(reference: str, plan: Plan) -> dict[str, Any]:
    """Return all that is known of a plan, ready for JSON."""
    facts = asdict(plan) | {'path': str(plan.path) if plan.path else None}
    return {'bundle': reference, 'bytes': len(facts.pop('payload')), **facts}


def _table(plans: dict[str, Plan], library: Library, gpu: str) -> Table:
    table = Table(
        'bundle', 'precision', 'batch', 'size', 'time', 'plan', box=SIMPLE_HEAD, pad_edge=False,
        title=f'{library}, GPU: {gpu}', title_justify='left',
    )
    for reference, plan in plans.items():
        profile = plan.profile
        sizes = f'{profile.least} to {profile.greatest}'
        if profile.optimal != profile.greatest:
            sizes += f', best {profile.optimal}'
        origin = 'built' if plan.was_built else 'in the store'
        table.add_row(
            Path(reference).name,
            '\n'.join(f'{share:.1%} {name}' for name, share in plan.shares.items()),
            f'{profile.greatest} only' if profile.is_static else sizes,
            f'{len(plan.payload) / 1e6:.1f} MB',
            f'{plan.build_s:.1f} s',
            origin if plan.path else f'{origin}, not stored',
        )
    return table
