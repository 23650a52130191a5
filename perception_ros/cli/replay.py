"""`perception_ros replay`: a bag through the node's pipeline, and a verdict on what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
import json
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn
import typer

from perception_ros.cli.answers import as_json, write
from perception_ros.cli.bag_options import End, Start
from perception_ros.cli.crew_options import crew_of, Ray, WorkerCpus, WorkerGpus, Workers
from perception_ros.cli.evaluate import class_names, LABELS_HELP, RENAME_HELP, renames
from perception_ros.cli.faults import Faults
from perception_ros.cli.main import complain, split_names, warn
from perception_ros.core.errors import ReplayError
from perception_ros.core.parameter_file import read_parameter_file
from perception_ros.replay import need_libraries

need_libraries()

from perception_ros.cli.replay_tables import print_summary  # noqa: E402
from perception_ros.faults.plan import read_faults  # noqa: E402
from perception_ros.replay.compare import against, read_baseline  # noqa: E402
from perception_ros.replay.crew import Crew  # noqa: E402
from perception_ros.replay.effects import measure  # noqa: E402
from perception_ros.replay.labels import LabelSource  # noqa: E402
from perception_ros.replay.limits import as_junit, Check, check, read_limits  # noqa: E402
from perception_ros.replay.many import Outcome, play_all  # noqa: E402
from perception_ros.replay.options import ReplayOptions  # noqa: E402
from perception_ros.replay.report.page import DETAILS, write_report  # noqa: E402
from perception_ros.replay.summary import summarise, SUMMARY  # noqa: E402
from perception_ros.replay.verdict import judge, mean_figures, ModelVerdict  # noqa: E402

if TYPE_CHECKING:
    from perception_ros.realtime.run import Ending

TRUTH_HELP = (
    'Labels in files instead of those of the bag, [HEAD=]KIND:PATH: coco:FILE, yolo:FOLDER, '
    'camvid:FOLDER or bag:FILE; images are named <camera>/<stamp_ns>. Repeatable.'
)
TOPICS_HELP = (
    'Played besides images, with commas, or none; default: all but labels. With --realtime.'
)
NODE_HELP = (
    'Play against the active node in this namespace, such as /perception, instead of one that is '
    'started; with --realtime.'
)
LIMITS_HELP = 'YAML file with what must hold, such as mAP50 >= 0.4; exit status 1 if it does not.'


def replay(
    bag: Annotated[
        list[Path], typer.Argument(help='One or more: .mcap, .db3, .bag, or a folder of one.')
    ],
    config: Annotated[
        Path, typer.Option(help="The node's parameter file; without cameras: those of the bag.")
    ],
    output: Annotated[Path, typer.Option(help='Folder for tables, results and summary.')],
    start: Start = None,
    end: End = None,
    cameras: Annotated[str, typer.Option(help='Cameras, with commas; default: all.')] = '',
    limits: Annotated[Path | None, typer.Option(help=LIMITS_HELP)] = None,
    baseline: Annotated[
        Path | None, typer.Option(help='Folder of an earlier replay to compare with.')
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(help='Write the limits as JUnit XML to this file.')
    ] = None,
    faults: Faults = None,
    ground_truth: Annotated[
        list[str] | None, typer.Option(metavar='[HEAD=]KIND:PATH', help=TRUTH_HELP)
    ] = None,
    labels: Annotated[str, typer.Option(help=LABELS_HELP)] = '',
    rename: Annotated[
        list[str] | None, typer.Option(metavar='CLASS=CLASS', help=RENAME_HELP)
    ] = None,
    results: Annotated[
        bool, typer.Option(help='Write detections, masks and overlays into results.mcap.')
    ] = True,
    workers: Workers = 1,
    ray: Ray = '',
    worker_cpus: WorkerCpus = 1.0,
    worker_gpus: WorkerGpus = -1.0,
    report: Annotated[bool, typer.Option(help='Write report.html.')] = True,
    resume: Annotated[bool, typer.Option('--resume', help='Go on with a run.')] = False,
    overwrite: Annotated[bool, typer.Option('--overwrite', help='Replace a run.')] = False,
    realtime: Annotated[
        bool, typer.Option('--realtime', help='Play through DDS against a running node.')
    ] = False,
    rate: Annotated[
        float | None, typer.Option(min=0.01, max=100, help='Times as fast; with --realtime.')
    ] = None,
    loop: Annotated[
        int | None, typer.Option(min=1, help='How many times; with --realtime.')
    ] = None,
    topics: Annotated[str, typer.Option(help=TOPICS_HELP)] = '',
    node: Annotated[str, typer.Option(metavar='NAMESPACE', help=NODE_HELP)] = '',
) -> None:
    """Play bags through the node's pipeline, in their own time and as fast as the machine goes.

    The same bag, bundles and configuration give the same tables. Results of a bag with labels are
    measured by them; docs/replay.md has files, keys and limits. With --realtime it takes as long
    as the drive did, and measures what a vehicle would see.
    """
    if not realtime:
        _refuse_pace({'--rate': rate, '--loop': loop, '--topics': topics, '--node': node})
    wanted = read_limits(limits) if limits else ()
    source = LabelSource(tuple(ground_truth or ()), class_names(labels), renames(rename))
    before = None
    if baseline:
        # says what is wrong with it now, not after hours
        before = baseline, read_baseline(baseline, output, 'output')
    crew = crew_of(workers, ray, worker_cpus, worker_gpus)
    options = ReplayOptions(
        bag[0], output, read_parameter_file(config), start_s=start, end_s=end,
        cameras=split_names(cameras), has_results=results, resume=resume, overwrite=overwrite,
        faults=read_faults(faults) if faults else None,
    )
    ending, outcome = None, Outcome({bag[0]: output}, {})
    if realtime:
        if len(bag) > 1 or not crew.is_alone:
            raise ReplayError(
                '--realtime plays one bag, here: expected one bag, and no --workers or --ray'
            )
        ending = _play_realtime(
            options, rate=rate or 1.0, loop=loop or 1, topics=topics, node=node
        )
    else:
        outcome = _play(options, bag, crew)
    verdicts = judge(outcome.runs, source)
    summary = _summary(outcome, verdicts, source)
    if baseline:
        summary['comparison'] = against(baseline, output, summary)
    checks = check(wanted, summary)
    summary['limits'] = [item.as_json() for item in checks]
    write(output / SUMMARY, as_json(summary) + '\n')
    details = {name: verdict.details() for name, verdict in verdicts.items()}
    write(output / DETAILS, json.dumps(details, ensure_ascii=False) + '\n')
    if junit:
        write(junit, as_junit(checks, summary['bag']['name']))
    print_summary(Console(), summary, output)
    for problem in summary['problems']:
        warn(problem)
    if report:
        page = write_report(
            output, summary, bag=bag[0] if len(bag) == 1 else None, baseline=before,
        )
        typer.echo(f'report: {page}')
    if ending and ending.problem:
        _end_early(ending, output)
    _end(checks, outcome)


def _play(options: ReplayOptions, bags: Sequence[Path], crew: Crew) -> Outcome:
    """Play bags in their own time, and say which could not be."""
    try:
        with _progress() as tell:
            outcome = play_all(options, bags, crew, tell)
    except KeyboardInterrupt:
        warn(
            'what is done is kept; the same command with --resume goes on with '
            f'{options.output}'
        )
        raise
    for path, error in outcome.failed.items():
        complain(str(error) if str(path) in str(error) else f'{path}: {error}')
    if not outcome.runs:
        raise typer.Exit(1)
    return outcome


def _summary(
    outcome: Outcome, verdicts: Mapping[str, ModelVerdict], source: LabelSource
) -> dict[str, Any]:
    """Return what all runs come to, ready for JSON."""
    folders = [*outcome.runs.values()]
    accuracy = {name: verdict.as_json() for name, verdict in verdicts.items()}
    return {
        **mean_figures(accuracy), **summarise(folders),
        'accuracy': accuracy,
        'ground_truth': source.as_json(),
        'faults': _effects(folders),
        'failed': {path.name: str(error) for path, error in outcome.failed.items()},
    }


def _effects(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Return what faults have caused; of several runs each under the name of its bag."""
    if len(folders) == 1:
        return measure(folders[0])
    return [
        {**effect, 'name': f'{folder.name}.{effect["name"]}'}
        for folder in folders for effect in measure(folder)
    ]


@contextmanager
def _progress() -> Iterator[Callable[[float], None]]:
    """Give what is to be told which share is done."""
    console = Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task('', total=1.0)
        yield lambda done: progress.update(task, completed=done)


def _refuse_pace(given: dict[str, Any]) -> None:
    """Raise ReplayError for options that mean nothing where there is no clock on the wall."""
    if names := [name for name, value in given.items() if value]:
        raise ReplayError(
            f'{", ".join(names)} can be had with --realtime only: without it a bag is played '
            'once, in its own time and as fast as the machine goes, and gives the same results '
            'at any rate and in each round'
        )


def _play_realtime(
    options: ReplayOptions, *, rate: float, loop: int, topics: str, node: str
) -> Ending:
    """Play in real time; rclpy and the messages are needed from here on."""
    try:
        from perception_ros.demo.processes import DemoError
        from perception_ros.realtime.options import RealtimeOptions
        from perception_ros.realtime.run import play_realtime
    except ModuleNotFoundError as error:
        raise ReplayError(
            f'--realtime needs ROS 2, but {error}. Source your distribution, or run `make setup` '
            'in the root of the source tree and use its .venv'
        ) from error
    live = RealtimeOptions(rate, loop, node.rstrip('/'), split_names(topics))
    try:
        with _progress() as tell:
            return play_realtime(options, live, tell)
    except DemoError as error:
        if error.details:
            typer.echo(error.details, err=True)
        raise


def _end_early(ending: Ending, output: Path) -> None:
    """Say why a run in real time did not come to its end; what came of it is written."""
    if ending.details:
        typer.echo(ending.details, err=True)
    warn(f'what came until then is in {output}')
    if ending.is_interrupt:
        raise KeyboardInterrupt
    raise ReplayError(ending.problem)


def _end(checks: list[Check], outcome: Outcome) -> None:
    for item in checks:
        if item.is_kept:
            typer.echo(str(item))
        else:
            complain(str(item))
    if outcome.failed or not all(item.is_kept for item in checks):
        raise typer.Exit(1)
