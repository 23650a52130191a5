"""The command `perception_train`."""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer

from perception_training import config as configuration
from perception_training import fit as fitting

app = typer.Typer(add_completion=False, help='Train, measure and export the shipped models.')
ConfigFile = Annotated[Path, typer.Option('--config', help='YAML of the run')]
Overrides = Annotated[list[str] | None, typer.Argument(help='key=value, e.g. optim.steps=100')]


@app.command()
def fit(config: ConfigFile, overrides: Overrides = None) -> None:
    """Train; start again with the same run_dir to resume."""
    fitting.tune_process()
    from perception_training.evaluate import evaluate as measure
    from perception_training.evaluate import torch_predictor

    settings = configuration.load(config, overrides)
    settings.run_dir.mkdir(parents=True, exist_ok=True)
    (settings.run_dir / 'config.json').write_text(settings.model_dump_json(indent=2))

    def judge(run: fitting.Run) -> dict:
        metrics = measure(settings, torch_predictor(run.average, settings.width, settings.height))
        record = {'step': run.step, 'training_minutes': round(run.seconds / 60, 1), **metrics}
        (settings.run_dir / 'metrics.json').write_text(json.dumps(record, indent=2))
        return record

    fitting.fit(settings, evaluate=judge)


@app.command()
def evaluate(config: ConfigFile, overrides: Overrides = None) -> None:
    """Measure the averaged weights of run_dir/last.pt."""
    fitting.tune_process()
    from perception_training.evaluate import evaluate as measure
    from perception_training.evaluate import torch_predictor

    settings = configuration.load(config, overrides)
    torch.set_num_threads(settings.threads)
    run = fitting.Run(settings)
    run.load(settings.run_dir / 'last.pt')
    metrics = measure(settings, torch_predictor(run.average, settings.width, settings.height))
    text = json.dumps({'step': run.step, **metrics}, indent=2)
    (settings.run_dir / 'metrics.json').write_text(text)
    print(text)


if __name__ == '__main__':
    app()
