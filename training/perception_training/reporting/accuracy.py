"""What was measured of a run: results by set and head, engines side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from perception_ros.evaluation.boxes import SIZES
from perception_ros.pages.plots import curves, Line
from perception_ros.pages.tables import Cell, number, share, Table, text
from perception_training.measuring.scores import CURVE_SCORES, principal
from perception_training.models import MASKS
from perception_training.reporting.runs import RunFolder

NAMES = {'map50': 'mAP50', 'map': 'mAP50-95', 'miou': 'mIoU', 'pixel_accuracy': 'pixel accuracy'}
MOST_CLASSES = 30
"""Classes that a confusion matrix shows; more cannot be read."""
Json = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A number to show large."""

    value: str
    name: str
    of: str


@dataclass(frozen=True)
class Picture:
    """A worst image."""

    file: str
    """In the run's folder of measurements."""
    name: str
    said: str


@dataclass(frozen=True)
class Result:
    """What is known of one head on one set."""

    set: str
    head: str
    title: str
    images: str
    summary: str
    classes: Table
    plots: Sequence[tuple[str, str]]
    """Title and SVG."""
    confusion: Table | None
    confusion_note: str
    worst: Sequence[Picture]
    colours: Sequence[tuple[str, str]]
    """Class and its colour in the pictures."""


def figures(run: RunFolder) -> list[Figure]:
    """Give the number that stands for each set and head, of the first engine measured."""
    if not run.evaluations:
        return []
    found = []
    for name, item in run.evaluations[0]['sets'].items():
        for head, numbers in item['metrics'].items():
            key, value = principal(numbers)
            found.append(Figure(f'{value:.3f}', NAMES.get(key, key),
                                f'{head}, {name}, {_images(item)}'))
    return found


def results(run: RunFolder) -> list[Result]:
    """Give what the first engine measured is worth, for each set and head."""
    if not run.evaluations:
        return []
    first = run.evaluations[0]
    return [_result(first, name, head) for name, item in first['sets'].items()
            for head in item['details']]


def engines(run: RunFolder) -> Table | None:
    """Give all that was measured side by side; None for nothing."""
    if not run.evaluations:
        return None
    first = run.evaluations[0]
    heads = [(name, head) for name, item in first['sets'].items() for head in item['metrics']]
    named = [f'{_principal(first, place)[0]} {place[1]}, {place[0]}' for place in heads]
    rows = [[text(item['engine'], 'head'),
             text(f'{item["runtime"]}, {item["device"]}, {item["precision"]}'),
             number(item['size_mb'], 1), number(item['latency_ms'], 1),
             *(_compared(first, item, place) for place in heads), *_agreement(item, first)]
            for item in run.evaluations]
    return Table(['engine', 'runs in', 'MB', 'ms an image', *named, 'box px', 'score', 'cells',
                  'masks', 'same answers'], rows)


def agreeing(run: RunFolder, same: bool) -> list[str]:
    """Name the engines whose answers are, or are not, those of what they are compared with."""
    return [item['engine'] for item in run.evaluations
            if item['agreement'] is not None and item['agreement']['ok'] is same]


def _principal(evaluation: Json, place: tuple[str, str]) -> tuple[str, float]:
    key, value = principal(evaluation['sets'][place[0]]['metrics'][place[1]])
    return NAMES.get(key, key), value


def _compared(first: Json, item: Json, place: tuple[str, str]) -> Cell:
    name, head = place
    mine = item['sets'].get(name, {})
    if head not in mine.get('metrics', {}):
        return number(None)
    value = _principal(item, place)[1]
    if item is first:
        return share(value, bar=False)
    if mine['images'] != first['sets'][name]['images']:
        return Cell(f'{value:.3f} *', number=True, title=f'measured on {_images(mine)}')
    return Cell(f'{value:.3f} ({value - _principal(first, place)[1]:+.4f})', number=True)


def _agreement(item: Json, first: Json) -> list[Cell]:
    found = item['agreement']
    if found is None:
        said = 'reference' if item is first else 'not compared'
        return [number(None)] * 4 + [text(said)]
    verdict = text('yes', 'good') if found['ok'] else text('DIFFERS', 'bad')
    differences = (f'{found["box_px"]:.3f}', f'{found["score"]:.0e}', f'{found["cells"]:.3%}',
                   f'{found["mask"]:.3%}')
    return [*(Cell(said, number=True) for said in differences), verdict]


def _result(evaluation: Json, name: str, head: str) -> Result:
    item = evaluation['sets'][name]
    numbers, details = item['metrics'][head], item['details'][head]
    boxes = 'map50' in details
    confusion = details.get('confusion')
    return Result(
        name, head, f'{_title(head, boxes)}: {name}', _images(item),
        ', '.join(f'{NAMES.get(key, key)} {value:.3f}' for key, value in numbers.items()
                  if isinstance(value, float)),
        _box_classes(details) if boxes else _mask_classes(details),
        _box_plots(details) if boxes else [],
        _confusion(confusion) if confusion else None,
        'Rows are the truth, columns what was said, in shares of the row; point at a cell for the '
        f'number of {"boxes" if boxes else "pixels"}.' + (
            f' Boxes from score {confusion["score"]:.2f} on, at an IoU of 0.5; "background" is '
            'what was missed (last column) and what is nothing (last row, in shares of all found '
            'in vain).' if boxes and confusion else ''),
        [Picture(row['file'], row['image'], row['said'])
         for row in evaluation['worst'] if (row['set'], row['head']) == (name, head)],
        [(label, f'rgb({red}, {green}, {blue})') for label, (red, green, blue)
         in evaluation['colours'].get(head, {}).items()])


def _title(head: str, precision: bool) -> str:
    if head == MASKS:
        return 'Instance masks'
    return 'Boxes' if precision else f'Mask {head}'


def _box_classes(details: Json) -> Table:
    rows = []
    for name, item in details['classes'].items():
        best = item['best_f1'] or {}
        sizes = [item['sizes'].get(size, {}) for size in SIZES]
        rows.append([
            text(name, 'head'), number(item['n']), share(item['ap50']), share(item['ap']),
            *(Cell(share(size.get('ap')).text, number=True, title=f'{size.get("n", 0)} true boxes')
              for size in sizes),
            share(best.get('f1'), bar=False), number(best.get('score'), 2),
            share(best.get('precision'), bar=False), share(best.get('recall'), bar=False)])
    return Table(['class', 'true boxes', 'AP50', 'AP50-95', *SIZES, 'best F1', 'from score',
                  'precision', 'recall'], rows)


def _mask_classes(details: Json) -> Table:
    total = sum(item['pixels'] for item in details['classes'].values())
    rows = [[text(name, 'head'),
             Cell(f'{item["pixels"] / total:.2%}' if total else '0', number=True,
                  title=f'{item["pixels"]:,} pixels'),
             share(item['iou']), share(item['f1'], bar=False),
             share(item['precision'], bar=False), share(item['recall'], bar=False)]
            for name, item in details['classes'].items()]
    return Table(['class', 'of all pixels', 'IoU', 'F1', 'precision', 'recall'], rows)


def _box_plots(details: Json) -> list[tuple[str, str]]:
    plots, levels = [], CURVE_SCORES.tolist()
    for key, x, y in (('precision_at_recall', 'recall', 'precision'),
                      ('f1_at_score', 'score threshold', 'F1')):
        lines = [Line(name, levels, item[key]) for name, item in details['classes'].items()
                 if key in item]
        if lines:
            plots.append((f'{y[0].upper()}{y[1:]} at each {x}, IoU 0.5',
                          curves(lines, x, y, share=True, share_x=True)))
    return plots


def _confusion(found: Json) -> Table | None:
    names, counts = found['names'], found['counts']
    # Classes that occur on neither side say nothing.
    kept = [i for i in range(len(names)) if any(counts[i]) or any(row[i] for row in counts)]
    if not kept or len(kept) > MOST_CLASSES:
        return None
    rows = []
    for i in kept:
        total = sum(counts[i])
        cells = [Cell(f'{counts[i][j] / total:.2f}' if counts[i][j] else '', number=True,
                      share=counts[i][j] / total if total else 0.0,
                      look='good' if i == j < len(names) - 1 else '',
                      title=f'{counts[i][j]:,}') for j in kept]
        rows.append([text(names[i], 'head'), *cells, number(total)])
    return Table(['truth \\ said', *(names[j] for j in kept), 'all'], rows, matrix=True)


def _images(item: Json) -> str:
    count, of = item['images'], item['of']
    return f'{count} images' if count == of else f'{count} of {of} images'
