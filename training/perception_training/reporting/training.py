"""How a run went, how several compare, and what they cost."""

from collections.abc import Callable, Sequence
from typing import Any

from perception_ros.pages.plots import curves, Line, smoothed
from perception_ros.pages.tables import Cell, change, number, share, Table, text
from perception_training.measuring.scores import principal
from perception_training.reporting.accuracy import NAMES
from perception_training.reporting.compression import LATENCY_MS, PARAMETERS, SIZE_MB
from perception_training.reporting.runs import RunFolder

Plots = list[tuple[str, str]]
"""Title and SVG of each."""
WINDOW = 0.03
"""Share of a run's reports over which its loss is smoothed."""
_COMPRESSED = {'prune': 'pruned', 'quantise': 'quantised', 'distil': 'distilled'}


def training_plots(run: RunFolder) -> Plots:
    """Give losses and metrics over steps and over time, the terms of the loss, the rate."""
    entries, plots = run.losses, []
    for axis, at in _AXES:
        if len(entries) > 1:
            plots.append((f'Loss over {axis.partition(",")[0]}',
                          curves(_loss(run, 'loss', at), axis, 'loss')))
        if lines := _metrics(run, at):
            plots.append((f'Accuracy over {axis.partition(",")[0]}, validation sets',
                          curves(lines, axis, 'mAP50, mIoU', share=True)))
    if len(entries) > 1:
        terms = [key for key in entries[-1] if '/' in key]
        lines = [line for term in terms for line in _loss(run, term, _step, noise=False)]
        if lines:
            plots.append(('Terms of the loss, not weighted', curves(lines, 'step', 'loss')))
        rates = Line('lr', [e['step'] for e in entries], [e['lr'] for e in entries])
        plots.append(('Learning rate', curves([rates], 'step', 'highest of all layers')))
    return plots


def compared_plots(runs: Sequence[RunFolder]) -> Plots:
    """Give all runs' losses and overall accuracy over time."""
    plots = []
    losses = [line for run in runs
              for line in _loss(run, 'loss', _minute, noise=False, name=run.name)]
    if losses:
        plots.append(('Loss over time', curves(losses, 'minutes of training', 'loss')))
    lines = []
    for run in runs:
        points = [(_measured_minute(entry), entry['overall']) for entry in run.measurements
                  if 'overall' in entry]
        if points:
            lines.append(Line(run.name, *zip(*points, strict=True), marks=True))
    if lines:
        plots.append(('Accuracy over time, mean over sets and heads', curves(
            lines, 'minutes of training', 'mean of mAP50 and mIoU', share=True)))
    return plots


def comparison(runs: Sequence[RunFolder]) -> Table:
    """Give the table that a user needs: configuration x time per epoch x accuracy."""
    places = list(dict.fromkeys(
        (name, head) for run in runs for evaluation in run.evaluations[:1]
        for name, item in evaluation['sets'].items() for head in item['metrics']))
    heads = [f'{_name_of(runs, place)} {place[1]}, {place[0]}' for place in places]
    return Table(
        ['run', 'model', 'input', 'images a step', 'precision', 's/epoch', *heads, 'epochs',
         'minutes', 'parameters', 'ms an image'],
        [[text(run.name, 'head'), text(model_of(run)), text(_input(run)),
          number(run.data.get('images_per_step')),
          text(run.config.get('fit', {}).get('precision')), number(run.seconds_per_epoch, 1),
          *(_value(run, place) for place in places), number(run.epochs, 1),
          number(run.minutes, 1), number(_first(run).get('parameters')),
          number(_first(run).get('latency_ms'), 1)] for run in runs])


def hardware(runs: Sequence[RunFolder]) -> list[str]:
    """Say what the runs ran on: once, if on the same."""
    places = {run.name: run.record.get('hardware') or 'not recorded' for run in runs}
    if len(set(places.values())) == 1:
        return [next(iter(places.values()))]
    return [f'{name}: {place}' for name, place in places.items()]


def compressions(runs: Sequence[RunFolder]) -> Table | None:
    """Give what was made smaller, before and after; None for nothing."""
    rows = [(run, item) for run in runs for item in run.compressions]
    if not rows:
        return None
    metrics = list(dict.fromkeys(key for _, item in rows for key in item.accuracies))
    sizes = ((SIZE_MB, 2), (PARAMETERS, 0), (LATENCY_MS, 1))
    return Table(
        ['run', 'what was done', 'how', *(NAMES.get(key, key) for key in metrics), 'MB',
         'parameters', 'ms an image'],
        [[text(run.name), text(item.name, 'head'), text(_COMPRESSED[item.kind]),
          *(_points(item.before.get(key), item.after.get(key)) for key in metrics),
          *(change(item.before.get(key), item.after.get(key), digits) for key, digits in sizes)]
         for run, item in rows])


def model_of(run: RunFolder) -> str:
    """Give the network's name and what sets its size."""
    model = run.config.get('model', {})
    words = [model.get('name'), model.get('size'), model.get('encoder')]
    return ' '.join(str(word) for word in words if word)


def data_table(run: RunFolder) -> Table | None:
    """Give which images the run learnt from, and which it was measured on."""
    rows = [[text('training'), text(row['name'], 'head'), number(row['images']),
             number(row['share'])] for row in run.data.get('train', [])]
    for name, item in _first(run).get('sets', {}).items():
        rows.append([text('validation'), text(name, 'head'), number(item['of']), text(None)])
    return Table(['for', 'set', 'images', 'share of a batch'], rows) if rows else None


def _first(run: RunFolder) -> dict[str, Any]:
    return run.evaluations[0] if run.evaluations else {}


def _input(run: RunFolder) -> str | None:
    return f'{run.config["width"]}x{run.config["height"]}' if 'width' in run.config else None


def _value(run: RunFolder, place: tuple[str, str]) -> Cell:
    numbers = _first(run).get('sets', {}).get(place[0], {}).get('metrics', {}).get(place[1])
    return share(principal(numbers)[1]) if numbers else number(None)


def _name_of(runs: Sequence[RunFolder], place: tuple[str, str]) -> str:
    for run in runs:
        numbers = _first(run).get('sets', {}).get(place[0], {}).get('metrics', {}).get(place[1])
        if numbers:
            key = principal(numbers)[0]
            return NAMES.get(key, key)
    return ''


def _points(before: float | None, after: float | None) -> Cell:
    if before is None or after is None:
        return change(before, after, 3)
    return Cell(f'{before:.3f} → {after:.3f} ({100 * (after - before):+.1f} points)', number=True)


def _step(entry: dict[str, Any]) -> float:
    return float(entry['step'])


def _minute(entry: dict[str, Any]) -> float:
    return float(entry['seconds']) / 60


def _measured_minute(entry: dict[str, Any]) -> float:
    return float(entry['metrics']['training_minutes'])


_AXES: tuple[tuple[str, Callable[[dict[str, Any]], float]], ...] = (
    ('steps', _step), ('time, minutes of training', _minute))


def _loss(run: RunFolder, key: str, at: Callable[[dict[str, Any]], float], noise: bool = True,
          name: str = '') -> list[Line]:
    entries = [entry for entry in run.losses if key in entry]
    if len(entries) < 2:
        return []
    x, y = [at(entry) for entry in entries], [float(entry[key]) for entry in entries]
    smooth = Line(name or key, x, smoothed(y, max(round(WINDOW * len(y)), 1)))
    return [Line(name or key, x, y, faint=True), smooth] if noise else [smooth]


def _metrics(run: RunFolder, at: Callable[[dict[str, Any]], float]) -> list[Line]:
    where = _step if at is _step else _measured_minute
    found: dict[str, list[tuple[float, float]]] = {}
    for entry in run.measurements:
        for name, heads in entry['metrics'].items():
            if isinstance(heads, dict):  # beside them stand step and minutes
                for head, numbers in heads.items():
                    key, value = principal(numbers)
                    found.setdefault(f'{NAMES.get(key, key)} {head}, {name}', []).append(
                        (where(entry), value))
    return [Line(name, *zip(*points, strict=True), marks=True) for name, points in found.items()]
