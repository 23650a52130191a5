"""`perception_ros evaluate`: how good a bundle is, on labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros import evaluation
from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.cli.answers import give, writable
from perception_ros.cli.progress import progress
from perception_ros.core.errors import DatasetError
from perception_ros.evaluation import Accuracy, open_dataset
from perception_ros.evaluation.accuracy import common_classes
from perception_ros.evaluation.boxes import BoxAccuracy, SIZES
from perception_ros.evaluation.datasets import Dataset
from perception_ros.evaluation.masks import MaskAccuracy

DATASET_HELP = (
    'Labelled images, as KIND:PATH[@SPLIT]: yolo:FOLDER, camvid:FOLDER, coco:FILE, kitti:FOLDER '
    'or bag:FILE. SPLIT is a folder inside, or a text file with the drives to take, one a line; '
    'of a bag what to measure, detections or semantic/HEAD. Repeatable.'
)
LABELS_HELP = (
    'Class names in the order of the ids, "a,b,c" or a file with one a line, for yolo:FOLDER '
    'without data.yaml and classes.txt.'
)
RENAME_HELP = 'A class of the data and what the model calls it, such as road=drivable. Repeatable.'


def evaluate(
    bundle: Annotated[str, typer.Argument(help='Its folder, or the name of a shipped one.')],
    dataset: Annotated[list[str], typer.Option(help=DATASET_HELP)],
    split: Annotated[
        str, typer.Option(help='SPLIT of the datasets that name none themselves.')
    ] = '',
    labels: Annotated[str, typer.Option(help=LABELS_HELP)] = '',
    rename: Annotated[
        list[str] | None, typer.Option(metavar='CLASS=CLASS', help=RENAME_HELP)
    ] = None,
    backend: Annotated[str, typer.Option(help='auto, onnxruntime, openvino ...')] = 'auto',
    device: Annotated[
        str, typer.Option(help='auto, cpu, or what the backend knows, such as cuda:0.')
    ] = 'auto',
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the figures to this file; -: to stdout.')
    ] = None,
) -> None:
    """Measure a bundle on labelled images: mAP of boxes and their masks, mIoU, by class.

    Only classes that the bundle and the data both have count; the table names the others.
    """
    writable(json_file)
    opened = Bundle.load(bundle)
    datasets = open_datasets(dataset, split=split, labels=labels, rename=rename)
    for data in datasets:
        common_classes(opened.manifest, data)  # before minutes of work
    results = []
    with open_engine(opened, backend, EngineOptions(max_batch=1, device=device)) as engine:
        for data in datasets:
            results.append(evaluation.evaluate(opened.manifest, engine, data, progress))
        info = engine.info
    answers: dict[str, Any] = {
        'bundle': opened.manifest.name, 'sha256': opened.manifest.graph.sha256,
        'backend': info.backend, 'device': info.device, 'precision': info.precision,
        **figures(results), 'datasets': [result.as_json() for result in results],
    }
    title = f'{opened.manifest.name}, {info.precision}, {info.backend}'
    give(answers, json_file, lambda: _print(Console(), title, results))


def open_datasets(
    references: Sequence[str],
    *,
    split: str = '',
    labels: str = '',
    rename: Sequence[str] | None = None,
) -> list[Dataset]:
    """Return the data that the options of a command name.

    :raises DatasetError: they cannot be used; the message says why.
    """
    renamed = renames(rename)
    opened = [open_dataset(reference, class_names(labels), split) for reference in references]
    known = {name for data in opened for name in data.classes}
    if unknown := sorted(renamed.keys() - known):
        raise DatasetError(
            f'--rename: no class {", ".join(unknown)} in the data; expected some of '
            f'{", ".join(sorted(known))}'
        )
    return [data.renamed(renamed) for data in opened]


def figures(results: Sequence[Accuracy]) -> dict[str, float | None]:
    """Return map50, map and miou, each the mean of the data sets that have it."""
    found: dict[str, list[float]] = {}
    for result in results:
        for name, value in result.figures.items():
            found.setdefault(name, []).extend([] if value is None else [value])
    return {name: sum(values) / len(values) if values else None for name, values in found.items()}


def renames(items: Sequence[str] | None) -> dict[str, str]:
    """Return what `--rename` says: class of the data -> what the model calls it.

    :raises DatasetError: it is not CLASS=CLASS.
    """
    renamed = {}
    for item in items or []:
        old, equals, new = item.partition('=')
        if not equals or not old or not new:
            raise DatasetError(f'--rename: expected CLASS=CLASS, got {item!r}')
        renamed[old] = new
    return renamed


def class_names(text: str) -> tuple[str, ...] | None:
    """Return what `--labels` says: names, or the lines of a file; None where it says nothing.

    :raises DatasetError: it is a file that cannot be read.
    """
    if not text:
        return None
    if Path(text).suffix in ('.txt', '.names') or Path(text).is_file():
        try:
            names = Path(text).read_text(encoding='utf-8').splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(
                f'--labels: expected a text file with one name a line, got {text}; {error}'
            ) from error
    else:
        names = text.split(',')
    return tuple(name.strip() for name in names if name.strip())


def _print(console: Console, title: str, results: Sequence[Accuracy]) -> None:
    console.print(title, style='bold', highlight=False)
    for result in results:
        console.print(f'\n{result.dataset}, {result.images} images', highlight=False)
        if result.boxes:
            console.print(_box_table(result.boxes, 'boxes'))
        if result.instances:
            console.print(_box_table(result.instances, 'masks'))
        for head, mask in result.masks.items():
            console.print(_mask_table(head, mask))
        for whose, names in (('the data', result.only_data), ('the model', result.only_model)):
            if names:
                console.print(
                    f'Not measured, of {whose} alone: {", ".join(names)}', highlight=False
                )


def _box_table(boxes: BoxAccuracy, what: str) -> Table:
    table = Table('class', box=SIMPLE_HEAD, pad_edge=False)
    for column in (f'true {what}', 'AP50', 'AP50-95', *SIZES, 'best F1', 'from score'):
        table.add_column(column, justify='right')
    for name, item in boxes.classes.items():
        sizes = (item.sizes[size].ap if item.sizes else None for size in SIZES)
        best = (item.best.f1, item.best.score) if item.best else (None, None)
        table.add_row(
            name, str(item.count), *map(share, (item.ap50, item.ap, *sizes, *best))
        )
    total = sum(item.count for item in boxes.classes.values())
    table.add_section()
    table.add_row('mean', str(total), share(boxes.map50), share(boxes.map))
    return table


def _mask_table(head: str, mask: MaskAccuracy) -> Table:
    table = Table(f'mask {head}', box=SIMPLE_HEAD, pad_edge=False)
    for column in ('labelled pixels', 'IoU', 'F1', 'precision', 'recall'):
        table.add_column(column, justify='right')
    for name, item in mask.classes.items():
        shares = (item.iou, item.f1, item.precision, item.recall)
        table.add_row(name, str(item.pixels), *map(share, shares))
    table.add_section()
    table.add_row('mean', '', share(mask.miou))
    return table


def share(value: float | None) -> str:
    """Return a share with three digits, or a dash where there is none."""
    return '-' if value is None else f'{value:.3f}'
