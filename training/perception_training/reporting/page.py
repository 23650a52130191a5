"""One HTML file of one run or several, that needs no network: pictures and plots lie in it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from perception_ros.pages import page
from perception_ros.pages.tables import any_tables, NONE, number
from perception_training.errors import TrainingError
from perception_training.measuring.records import FOLDER
from perception_training.reporting import accuracy, training
from perception_training.reporting.runs import read_run, RunFolder


def write_report(run_dirs: Sequence[Path], output: Path) -> None:
    """
    Write the page.

    :raises TrainingError: a folder holds no run, or the page cannot be written.
    """
    text = render(_named([read_run(path) for path in run_dirs]))
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding='utf-8')
    except OSError as error:
        raise TrainingError(f'{output}: cannot be written; {error.strerror}') from error


def render(runs: Sequence[RunFolder]) -> str:
    """Give the page's text."""
    several = len(runs) > 1
    return page.render(
        'perception_training.reporting', 'report.html.j2',
        title=', '.join(run.name for run in runs), runs=[_shown(run) for run in runs],
        several=several, comparison=training.comparison(runs),
        hardware=training.hardware(runs),
        plots_of_all=training.compared_plots(runs) if several else [],
        compressions=training.compressions(runs))


def _named(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Tell runs of one name apart by the folder that they lie in."""
    names = [run.name for run in runs]
    return [run if names.count(run.name) == 1 else
            replace(run, name=f'{run.path.resolve().parent.name}/{run.name}') for run in runs]


def _shown(run: RunFolder) -> dict[str, Any]:
    """Give what the template says of a run."""
    first = run.evaluations[0] if run.evaluations else {}
    return {
        'name': run.name, 'id': ''.join(c if c.isalnum() else '_' for c in run.name),
        'about': run.config.get('bundle', {}).get('description') or '',
        'what': _what(run), 'figures': accuracy.figures(run), 'facts': _facts(run, first),
        'notes': run.config.get('bundle', {}).get('val_notes') or [],
        'plots': training.training_plots(run),
        'results': [(result, _pictures(run, [(picture.file, f'{picture.name}: {picture.said}')
                                             for picture in result.worst]))
                    for result in accuracy.results(run)],
        'examples': _pictures(run, [
            (item['file'], f'{item["image"]}, the first of {item["set"]}: nobody chose it')
            for item in first.get('examples', [])]),
        'engines': accuracy.engines(run), 'agree': accuracy.agreeing(run, True),
        'differ': accuracy.agreeing(run, False),
        'measured': first, 'data': training.data_table(run),
        'uses': run.config.get('bundle', {}).get('data') or [],
        'benchmark': any_tables(run.benchmark, 'benchmark') if run.benchmark else [],
        'record': run.record, 'command': ' '.join(run.record.get('command', [])),
        'settings': yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True, width=96,
                                   default_flow_style=None) if run.config else ''}


def _what(run: RunFolder) -> str:
    labels = run.config.get('labels', {})
    parts = [training.model_of(run)]
    if 'width' in run.config:
        parts.append(f'{run.config["width"]}x{run.config["height"]} px')
    if labels.get('boxes'):
        parts.append(f'boxes of {len(labels["boxes"])} classes')
    parts += [f'mask {head} of {len(names)} classes'
              for head, names in (labels.get('semantic') or {}).items()]
    return ' · '.join(part for part in parts if part)


def _facts(run: RunFolder, first: dict[str, Any]) -> list[tuple[str, str]]:
    """Give short facts, each with its name; what is not known is left out."""
    rows = [
        ('steps', number(run.steps).text), ('epochs', number(run.epochs, 1).text),
        ('minutes of training', number(run.minutes, 1).text),
        ('seconds an epoch', number(run.seconds_per_epoch, 1).text),
        ('parameters', number(first.get('parameters')).text),
        ('MB', number(first.get('size_mb'), 1).text),
        ('did best on the validation sets', run.best_step and f'step {run.best_step}')]
    return [(name, value) for name, value in rows if value and value != NONE]


def _pictures(run: RunFolder, items: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give images of (file, caption) as (data URI, caption); those that are gone are left out."""
    paths = [(run.path / FOLDER / file, caption) for file, caption in items]
    return [(page.jpeg_uri(path.read_bytes()), caption)
            for path, caption in paths if path.is_file()]
