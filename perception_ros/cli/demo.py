"""`perception_ros demo`: cameras in, boxes and masks out, over real topics."""

from __future__ import annotations

from pathlib import Path
import signal
from types import FrameType
from typing import Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
import typer

from perception_ros.cli.main import split_names, warn
from perception_ros.core.errors import PerceptionError
from perception_ros.core.sources import DEFAULT_CAMERAS

DEFAULT_INPUT = Path('.cache/demo/small-vehicles1.jpeg')
DEFAULT_REFERENCES = Path('../shared/data/models')


def demo(
    input: Annotated[
        Path,
        typer.Option(
            help='Folder of pictures, video, bag or picture. Files or folders named CAM_*, and '
            'the image topics of a bag, are cameras; otherwise one sequence is dealt to the '
            'cameras, or they pan over the picture.'
        ),
    ] = DEFAULT_INPUT,
    output: Annotated[Path, typer.Option(help='Folder for what comes out.')] = Path('out/demo'),
    models: Annotated[
        str,
        typer.Option(
            help='Bundles, separated by commas: names of shipped ones, or folders. Default: '
            'roadscene, and the reference models where their files are.'
        ),
    ] = '',
    references: Annotated[
        Path,
        typer.Option(help='Folder with yolox_nano.onnx and twinlitenet.onnx, if any.'),
    ] = DEFAULT_REFERENCES,
    cameras: Annotated[
        str, typer.Option(help='Names, separated by commas, if the input has none of its own.')
    ] = ','.join(DEFAULT_CAMERAS),
    frames: Annotated[int, typer.Option(min=1, help='Frame sets to play.')] = 40,
    rate: Annotated[
        float, typer.Option(min=0, help='Frame sets per second; 0: as fast as all models keep up.')
    ] = 0.0,
    transport: Annotated[str, typer.Option(help='raw or compressed.')] = 'raw',
    backend: Annotated[
        str,
        typer.Option(help='auto, tensorrt, tensorrt_rtx, onnxruntime, openvino, triton or fake.'),
    ] = 'auto',
) -> None:
    """Show cameras in, boxes and masks out, over real topics.

    Starts the player and the perception node as processes of their own and listens. The exit
    status is 0 if every published frame was received and something was detected.
    """
    # rclpy and the messages are needed from here on
    try:
        from perception_ros.demo.processes import DemoError
        from perception_ros.demo.run import DemoOptions, run_demo
        from perception_ros.demo.summary import faults
    except ModuleNotFoundError as error:
        raise PerceptionError(
            f'the demonstration needs ROS 2, but {error}. Source your distribution, or run '
            '`make setup` in the root of the source tree and use its .venv'
        ) from error

    if input == DEFAULT_INPUT and not input.exists():
        raise PerceptionError(
            f'the demo photograph {input} is not there. Run `make setup` in the root of the '
            'source tree, or name your own pictures with --input'
        )
    options = DemoOptions(
        input=input,
        output=output,
        models=split_names(models),
        references=references if references.is_dir() else None,
        cameras=split_names(cameras),
        frames=frames,
        rate_hz=rate,
        transport=transport,
        backend=backend,
    )
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores a hang-up on purpose
            signal.signal(number, _as_interrupt)
    console = Console()
    try:
        with _Bar(console, frames) as bar:
            summary = run_demo(options, bar.show)
    except KeyboardInterrupt:
        console.print('interrupted; the nodes have ended')
        raise typer.Exit(130) from None
    except DemoError as error:
        if error.details:
            Console(stderr=True).print(error.details, markup=False, highlight=False)
        raise
    console.print(_table(summary))
    console.print(f'annotated frames, demo.mp4 and summary.json are in {output}/')
    for problem in summary['input_problems']:
        warn(problem)
    if complaints := faults(summary):
        raise PerceptionError('; '.join(complaints))


class _Bar:
    """A progress bar over the frame sets, with what is going on and how late answers are."""

    def __init__(self, console: Console, sets: int) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn('{task.description}'),
            BarColumn(),
            TextColumn('{task.completed:.0f}/{task.total:.0f} sets'),
            TextColumn('{task.fields[latency]}'),
            TimeElapsedColumn(),
            console=console,
        )
        self._task = self._progress.add_task('', total=sets, latency='')

    def show(self, progress: Any) -> None:
        latency_ms = progress.latency_p95_ms
        self._progress.update(
            self._task,
            description=progress.doing,
            completed=progress.sets,
            latency=f'p95 {latency_ms:.0f} ms' if latency_ms else '',
        )

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _table(summary: dict[str, Any]) -> Table:
    table = Table(title=f'{summary["input"]} at {summary["rate_hz"]:g} Hz', show_header=False)
    table.add_column(style='bold')
    table.add_column()
    latency = summary['latency_ms']
    rows = {
        'cameras': ', '.join(summary['cameras']),
        'models': '\n'.join(
            f'{m["name"]}: {m["backend"]} {m["device"]}, {m["precision"]}'
            for m in summary['models']
        ),
        'published / received': f'{summary["frames_published"]} / {summary["frames_received"]}',
        'frame sets': str(summary['frame_sets']),
        'inferred': _counts(summary['frames_inferred_by_model']),
        'engine calls': _counts(summary['engine_calls']),
        'dropped': _counts(summary['frames_dropped']) or 'none',
        'detections': '\n'.join(
            f'{model}: {_counts(found)}' for model, found in summary['detections_by_model'].items()
        )
        or 'none',
        'latency': ', '.join(f'{name} {latency[name]:.0f} ms' for name in latency),
    }
    if comparison := summary['comparison']:
        share = comparison['share']
        rows[f'{comparison["class"]}s of {comparison["reference"]}'] = (
            f'{comparison["found_by_reference"]}, of which {comparison["model"]} finds '
            f'{comparison["of_these_found_by_model"]}'
            + ('' if share is None else f' ({share:.0%} at IoU {comparison["iou"]:g})')
        )
    for name, text in rows.items():
        table.add_row(name, text)
    return table


def _counts(counts: dict[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    return ', '.join(f'{name} {count}' for name, count in ordered)
