"""`perception_ros label`: a teacher's answers as labels to train on."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.cli.answers import write
from perception_ros.cli.crew_options import crew_of, Ray, WorkerCpus, WorkerGpus, Workers
from perception_ros.cli.main import complain, split_names
from perception_ros.cli.progress import progress
from perception_ros.core.errors import ConfigError
from perception_ros.labelling.label import label as label_pictures
from perception_ros.labelling.label import LabelOptions
from perception_ros.labelling.pictures import check


def label(
    inputs: Annotated[
        list[Path],
        typer.Argument(help='Bags, folders of pictures, pictures, videos.', metavar='INPUT...'),
    ],
    bundle: Annotated[
        str, typer.Option(help='The teacher: its folder, or the name of a shipped one.')
    ],
    output: Annotated[
        Path, typer.Option(help='COCO JSON file; label maps are written beside it.')
    ],
    images: Annotated[
        Path | None, typer.Option(help='Write the pictures, too, into this folder.')
    ] = None,
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score; default: the bundle's.")
    ] = None,
    classes: Annotated[
        str, typer.Option(help='Classes of boxes, with commas; default: all.')
    ] = '',
    every: Annotated[
        int, typer.Option(min=1, metavar='N', help='Label each Nth picture of a camera.')
    ] = 1,
    batch: Annotated[
        int, typer.Option(min=1, max=256, help='Pictures in one engine call.')
    ] = 1,
    backend: Annotated[str, typer.Option(help='auto, onnxruntime, openvino ...')] = 'auto',
    device: Annotated[
        str, typer.Option(help='auto, cpu, or what the backend knows, such as cuda:0.')
    ] = 'auto',
    workers: Workers = 1,
    ray: Ray = '',
    worker_cpus: WorkerCpus = 1.0,
    worker_gpus: WorkerGpus = -1.0,
) -> None:
    """Label pictures with what a bundle says of them.

    Boxes and outlines become COCO JSON, semantic masks PNG files beside it: for training,
    `evaluate` and `replay`. What is damaged is told, the rest labelled, and the exit status is 1.
    """
    if output.is_dir():
        raise ConfigError(f'{output}: expected a file to write the labels to, got a folder')
    check(inputs)
    problems = 0

    def tell(problem: str) -> None:
        nonlocal problems
        problems += 1
        complain(problem)

    found = label_pictures(
        LabelOptions(
            tuple(inputs), bundle, output, images, score_threshold, split_names(classes), every,
            batch, backend, device,
        ),
        tell, crew_of(workers, ray, worker_cpus, worker_gpus), progress,
    )
    write(output, json.dumps(found, ensure_ascii=False) + '\n')
    _print(Console(), found, output)
    if problems:
        raise typer.Exit(1)


def _print(console: Console, found: dict[str, Any], output: Path) -> None:
    console.print(
        f'{output}: {len(found["images"])} pictures, labelled by '
        f'{found["info"]["teacher"]["name"]}', style='bold', highlight=False, soft_wrap=True,
        markup=False,
    )
    if found['categories']:
        counts = Counter(item['category_id'] for item in found['annotations'])
        table = Table('class', box=SIMPLE_HEAD, pad_edge=False)
        table.add_column('boxes', justify='right')
        for item in found['categories']:
            table.add_row(item['name'], str(counts[item['id']]))
        console.print(table)
    for head, names in found['info']['semantic'].items():
        console.print(
            f'{output.parent / head}: label maps of {", ".join(names)}', highlight=False,
            soft_wrap=True, markup=False,
        )
