"""The command `perception_train`."""

from collections.abc import Iterator
import contextlib
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
ConfigFile = Annotated[Path, typer.Option('--config', help='YAML of the run')]
Overrides = Annotated[list[str] | None, typer.Argument(help='key=value, e.g. fit.steps=100')]


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
        # What belongs to one machine is left out of the record: it goes into the card.
        words = [w for w in sys.argv[1:] if not w.startswith(('run_dir=', 'data.root='))]
        start_record(settings, ['perception_train', *map(shlex.quote, words)])
    loop.fit(settings, evaluate=lambda trained: _measured(settings, trained))


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    bundle: Annotated[Path | None, typer.Option(
        help='measure this bundle in ONNX Runtime; without it, the checkpoint')] = None,
) -> None:
    """Measure run_dir/last.pt, or a bundle."""
    from perception_training.fitting.loop import restored
    from perception_training.measuring.evaluate import evaluate
    from perception_training.measuring.predict import bundle_predictor

    settings = _settings(config, overrides)
    if bundle is None:
        metrics = _measured(settings, restored(settings))
    else:
        with bundle_predictor(bundle) as predict:
            metrics = evaluate(settings, predict)
    print(json.dumps(metrics, indent=2))


@app.command()
def export(
    config: ConfigFile,
    output: Annotated[Path, typer.Option(help='folder of the bundle')],
    overrides: Overrides = None,
) -> None:
    """Turn run_dir/last.pt into a bundle, prove it, and measure it."""
    from perception_training.delivering.bundle import make_bundle

    written = make_bundle(_settings(config, overrides), output)
    print(f'{written.path}: {written.manifest.graph.sha256}')


def main() -> None:
    """Run a command; a foreseen failure is one line, and status 1."""
    with _one_line():
        app()


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except PerceptionError as error:
        print(f'perception_train: {error}', file=sys.stderr)
        raise SystemExit(1) from None


def _settings(path: Path, overrides: list[str] | None) -> Config:
    return configuration.load(path, overrides or ())


def _measured(settings: Config, trained: Any) -> dict[str, Any]:
    from perception_training.measuring.evaluate import evaluate
    from perception_training.measuring.predict import network_predictor

    metrics: dict[str, Any] = evaluate(settings, network_predictor(trained.network, settings))
    record = {'step': trained.step, 'training_minutes': round(trained.seconds / 60, 1), **metrics}
    (settings.run_dir / 'metrics.json').write_text(json.dumps(record, indent=2), encoding='utf-8')
    return record


if __name__ == '__main__':
    main()
