"""The command `perception_train`."""

import json
from pathlib import Path
import shlex
import sys
from typing import Annotated, Any

import typer

from perception_training import config as configuration
from perception_training import fit as fitting
from perception_training.record import start_record

app = typer.Typer(add_completion=False, help='Train, measure and export the shipped models.')
ConfigFile = Annotated[Path, typer.Option('--config', help='YAML of the run')]
Overrides = Annotated[list[str] | None, typer.Argument(help='key=value, e.g. optim.steps=100')]


@app.command()
def fit(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train; start again with the same run_dir to resume."""
    fitting.tune_process()
    settings = configuration.load(config, overrides)
    # What belongs to one machine is left out of the record: it goes into the card.
    words = [w for w in sys.argv[1:] if not w.startswith(('run_dir=', 'data_root='))]
    start_record(settings, ['perception_train', *map(shlex.quote, words)])
    fitting.fit(settings, evaluate=lambda run: _measure(settings, run))


@app.command()
def evaluate(
    config: ConfigFile,
    overrides: Overrides = None,
    bundle: Annotated[Path | None, typer.Option(
        help='measure this bundle in ONNX Runtime; without it, the checkpoint')] = None,
) -> None:
    """Measure run_dir/last.pt, or a bundle."""
    fitting.tune_process()
    settings = configuration.load(config, overrides)
    if bundle is not None:
        from perception_training import evaluate as measuring

        with measuring.bundle_predictor(bundle, settings.threads) as predict:
            metrics = measuring.evaluate(settings, predict)
    else:
        run = fitting.Run(settings)
        run.load(settings.run_dir / 'last.pt')
        metrics = _measure(settings, run)
    print(json.dumps(metrics, indent=2))


@app.command()
def export(
    config: ConfigFile,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option(help='folder of the bundle')] = Path('engines/roadscene'),
) -> None:
    """Turn run_dir/last.pt into a bundle, and measure that."""
    from perception_training.bundle import make_bundle

    written = make_bundle(configuration.load(config, overrides), output)
    print(f'{written.path}: {written.manifest.graph.sha256}')


def _measure(settings: configuration.Config, run: fitting.Run) -> dict[str, Any]:
    from perception_training import evaluate as measuring

    predict = measuring.torch_predictor(run.average, settings.width, settings.height)
    record = {'step': run.step, 'training_minutes': round(run.seconds / 60, 1),
              **measuring.evaluate(settings, predict)}
    (settings.run_dir / 'metrics.json').write_text(json.dumps(record, indent=2))
    return record


if __name__ == '__main__':
    app()
