"""The command `perception_train`."""

from collections.abc import Callable, Iterator
import contextlib
from enum import Enum
import json
from pathlib import Path
import shlex
import sys
from typing import Annotated, Any

import typer

from perception_ros.core.errors import PerceptionError
from perception_training import config as configuration
from perception_training.config import Config

app = typer.Typer(add_completion=False, help='Train, measure and deliver networks.')


class Which(str, Enum):
    """A checkpoint of run_dir."""

    LAST = 'last'
    BEST = 'best'


ConfigFile = Annotated[Path, typer.Option('--config', help='YAML of the run')]
Overrides = Annotated[list[str] | None, typer.Argument(help='key=value, e.g. fit.steps=100')]
Weights = Annotated[Which, typer.Option(
    help='last: at the end of the schedule; best: the best on the validation sets on the way')]


@app.command()
def check(config: ConfigFile, overrides: Overrides = None) -> None:
    """Look at every image and label before training; status 1 if something is wrong."""
    from rich.console import Console

    from perception_training.data.check import check
    from perception_training.data.check_report import report, watched

    settings = _settings(config, overrides)
    found = check(settings, watched)
    report(found, settings, Console())
    if found.errors:
        raise typer.Exit(1)


@app.command()
def fit(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train; start again with the same run_dir to resume. Many processes: torchrun."""
    from perception_training.fitting import loop
    from perception_training.fitting.process import tune_process
    from perception_training.fitting.record import start_record

    tune_process()
    settings = _settings(config, overrides)
    if loop.is_first_process():
        start_record(settings, _command())
    loop.fit(settings, evaluate=lambda trained: _measured(settings, trained))


@app.command()
def prune(config: ConfigFile, overrides: Overrides = None) -> None:
    """Take channels from run_dir's network and train it on, in run_dir/prune."""
    from perception_training.compressing.commands import prune_run

    _compress(prune_run, config, overrides)


@app.command()
def quantise(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train run_dir's network on as int8 will compute it, in run_dir/quantise."""
    from perception_training.compressing.commands import quantise_run

    _compress(quantise_run, config, overrides)


@app.command()
def distil(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train as fit does with the teacher of section distil, and compare the two."""
    from perception_training.compressing.commands import distil_run

    _compress(distil_run, config, overrides)


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    bundle: Annotated[Path | None, typer.Option(
        help='measure this bundle; without it, the checkpoint')] = None,
    backend: Annotated[list[str] | None, typer.Option(
        help='what answers, repeatable: checkpoint, onnxruntime, openvino ..., or all that work '
        'here, side by side; the others are compared with the first')] = None,
    checkpoint: Weights = Which.LAST,
    images: Annotated[int | None, typer.Option(
        min=1, help='measure so many images of each set, evenly spread; without it, all')] = None,
    report: Annotated[bool, typer.Option(
        '--report', help='write run_dir/report.html too')] = False,
) -> None:
    """Measure a checkpoint, or a bundle in any engine, or all of them side by side."""
    from perception_training.delivering.engines import measure_engines, opened

    settings = _settings(config, overrides)
    wanted = backend or ['checkpoint' if bundle is None else 'onnxruntime']
    with opened(settings, bundle, wanted, f'{checkpoint.value}.pt') as (contenders, absent):
        rows = measure_engines(settings, contenders, images)
    for name, reason in absent.items():
        print(f'not measured: {name}: {reason}', file=sys.stderr)
    for name, row in rows.items():
        if row.agreement is not None:
            verdict = 'agrees' if row.agreement.ok else 'DIFFERS'
            print(f'{name} {verdict}: {row.agreement}', file=sys.stderr)
    print(json.dumps({name: row.metrics for name, row in rows.items()}
                     if len(rows) > 1 else next(iter(rows.values())).metrics, indent=2))
    if 'checkpoint' in rows and images is None:
        _write_metrics(settings, rows['checkpoint'])
    if report:
        _report([settings.run_dir], settings.run_dir / 'report.html')


@app.command()
def benchmark(
    config: ConfigFile,
    overrides: Overrides = None,
    rounds: Annotated[int, typer.Option(min=1, help='each has a turn of everything')] = 5,
    seconds: Annotated[float, typer.Option(min=0, help='of a turn, at least')] = 5.0,
    variants: Annotated[str, typer.Option(help='settings to try, with commas')] = (
        'bf16,fp16,channels-last,compile'),
) -> None:
    """Measure images/s of data, steps and both, and what single settings gain."""
    from rich.console import Console

    from perception_training.fitting.process import tune_process
    from perception_training.speed.benchmark import benchmark, write

    tune_process()
    settings = _settings(config, overrides)
    console, said = Console(), Console(stderr=True)
    with said.status('data') as status:
        report = benchmark(settings, rounds, seconds, variants.split(','), status.update)
    console.print(*report.tables(), sep='\n', highlight=False)
    written = write(report, settings.run_dir)
    for line in (report.verdict, report.machine, *report.environment.warnings(), written):
        console.print(line, highlight=False, soft_wrap=True)


@app.command()
def find_batch(config: ConfigFile, overrides: Overrides = None) -> None:
    """Find the largest fit.batch that fits, by trial on a GPU, and by counting on a CPU."""
    from perception_training.fitting.process import tune_process
    from perception_training.speed.batch_size import find_batch

    tune_process()
    found = find_batch(_settings(config, overrides), say=print)
    how = 'runs' if found.tried else 'should fit, by what smaller ones needed'
    print(f'{found.largest} {how}, of {found.total_bytes / 1e9:.1f} GB; with some to spare: '
          f'fit.batch={found.batch}')


@app.command()
def export(
    config: ConfigFile,
    output: Annotated[Path, typer.Option(help='folder of the bundle')],
    overrides: Overrides = None,
    checkpoint: Weights = Which.LAST,
) -> None:
    """Turn a checkpoint of run_dir into a bundle, prove it, and measure it."""
    from perception_training.delivering.bundle import make_bundle

    written = make_bundle(_settings(config, overrides), output, f'{checkpoint.value}.pt')
    print(f'{written.path}: {written.manifest.graph.sha256}')


@app.command()
def report(
    run_dirs: Annotated[list[Path], typer.Argument(help='folders of runs')],
    output: Annotated[Path, typer.Option(help='the page')] = Path('report.html'),
) -> None:
    """Show one run, or compare several, in one HTML file that needs no network."""
    _report(run_dirs, output)


@app.command()
def demo(
    config: ConfigFile,
    output: Annotated[Path, typer.Option(help='folder of pictures, bundle and report')],
    overrides: Overrides = None,
) -> None:
    """Train a small segmenter, watch it learn, deliver it, and run what came out."""
    from rich.console import Console

    from perception_training.demo.demo import demo
    from perception_training.fitting.process import tune_process

    tune_process()
    settings = _settings(config, [*(overrides or ()), f'run_dir={output / "run"}'])
    demo(settings, output, _command(), lambda trained: _measured(settings, trained), Console())


def main() -> None:
    """Run a command; a foreseen failure is one line, and a status that is not 0."""
    with _one_line():
        app()


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except PerceptionError as error:
        print(f'perception_train: {error}', file=sys.stderr)
        raise SystemExit(getattr(error, 'status', 1)) from None
    except OSError as error:
        if error.filename is None:
            raise
        print(f'perception_train: {error.filename}: {error.strerror}', file=sys.stderr)
        raise SystemExit(1) from None


def _compress(run: Callable[..., Any], path: Path, overrides: list[str] | None) -> None:
    from perception_training.fitting.process import tune_process

    tune_process()
    run(_settings(path, overrides), _command(),
        lambda settings: lambda trained: _measured(settings, trained))


def _command() -> list[str]:
    # What belongs to one machine is left out of the record: it goes into the card.
    words = [w for w in sys.argv[1:] if not w.startswith(('run_dir=', 'data.root='))]
    return ['perception_train', *map(shlex.quote, words)]


def _settings(path: Path, overrides: list[str] | None) -> Config:
    return configuration.load(path, overrides or ())


def _measured(settings: Config, trained: Any) -> Any:
    """Measure a network on its way, and record it."""
    from perception_training.delivering.engines import CHECKPOINT, measure_engines, of_checkpoint
    from perception_training.fitting.loop import Look
    from perception_training.measuring.pictures import validation_pictures
    from perception_training.measuring.scores import overall

    contender = of_checkpoint(settings, trained)
    row = measure_engines(settings, {CHECKPOINT: contender})[CHECKPOINT]
    drawn = validation_pictures(settings, contender.predict) if settings.fit.tensorboard else {}
    return Look(_write_metrics(settings, row), overall(row.metrics), drawn)


def _write_metrics(settings: Config, row: Any) -> dict[str, Any]:
    record = {'step': row.measured.step, 'training_minutes': row.measured.minutes, **row.metrics}
    (settings.run_dir / 'metrics.json').write_text(json.dumps(record, indent=2), encoding='utf-8')
    return record


def _report(run_dirs: list[Path], output: Path) -> None:
    from perception_training.reporting.page import write_report

    write_report(run_dirs, output)
    print(f'{output}: {output.stat().st_size / 1e6:.1f} MB')


if __name__ == '__main__':
    main()
