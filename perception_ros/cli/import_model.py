"""`perception_ros import`: turn a foreign ONNX model into a bundle."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, cast, Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
import typer

from perception_ros.bundles.families import AUTO, FAMILIES
from perception_ros.bundles.importing import import_model, values_refused
from perception_ros.bundles.labels import COCO
from perception_ros.bundles.manifest import LicenceInfo, ProvenanceInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.bundles.proof import Proof
from perception_ros.core.errors import ImportModelError
from perception_ros.core.image import Image

_PIXELS, _FIT, _BOXES = 'What the network sees', 'How images are fitted', 'Boxes'
_MASKS, _ABOUT = 'Semantic heads', 'For the manifest and the card'


def import_(
    model: Annotated[
        Path, typer.Argument(help='ONNX file, one input: float [B, 3, H, W] or [B, H, W, 3].')
    ],
    output: Annotated[Path, typer.Option(help='Folder of the bundle, such as engines/NAME.')],
    family: Annotated[
        str,
        typer.Option(
            help=f'{AUTO}: recognised from the graph. Or one of {", ".join(FAMILIES)}; names of '
            'models such as yolov9, rtdetr and dfine stand for the family they are of.'
        ),
    ] = AUTO,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar='[HEAD=]NAMES',
            help='Class names in order: "a,b,c", a file with one a line, or coco. HEAD= for a '
            'semantic head, without for the boxes. Repeatable; default: those in the file.',
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar='HEAD=OUTPUT[@STRIDE]',
            help='Name a semantic head and the output with its logits; with a stride the answer '
            'is enlarged to it. Repeatable; default: every output that is left.',
            rich_help_panel=_MASKS,
        ),
    ] = None,
    verify: Annotated[
        list[Path] | None,
        typer.Option(help='Image for the proof. Repeatable; default: synthetic images.'),
    ] = None,
    overwrite: Annotated[bool, typer.Option(help='Replace a bundle that is there.')] = False,
    input_size: Annotated[
        str | None, typer.Option(metavar='WxH', help='For a graph that leaves its size open.')
    ] = None,
    order: Annotated[
        str | None, typer.Option(help='Channels: rgb or bgr.', rich_help_panel=_PIXELS)
    ] = None,
    divisor: Annotated[
        float | None, typer.Option(help='Pixels are divided by it first.', rich_help_panel=_PIXELS)
    ] = None,
    mean: Annotated[
        str | None, typer.Option(metavar='A,B,C', help='Then less this.', rich_help_panel=_PIXELS)
    ] = None,
    std: Annotated[
        str | None, typer.Option(metavar='A,B,C', help='Then by this.', rich_help_panel=_PIXELS)
    ] = None,
    anchor: Annotated[
        str | None, typer.Option(help='center or top_left.', rich_help_panel=_FIT)
    ] = None,
    pad: Annotated[
        int | None, typer.Option(help='Grey around the image, 0..255.', rich_help_panel=_FIT)
    ] = None,
    rounding: Annotated[
        str | None, typer.Option(help='nearest or down.', rich_help_panel=_FIT)
    ] = None,
    upscale: Annotated[
        bool | None, typer.Option(help='Enlarge smaller images.', rich_help_panel=_FIT)
    ] = None,
    nms_iou: Annotated[
        float | None,
        typer.Option(
            help='IoU of the suppression; 0: none. Default: as the family has it.',
            rich_help_panel=_BOXES,
        ),
    ] = None,
    score_threshold: Annotated[
        float, typer.Option(help="The node's default.", rich_help_panel=_BOXES)
    ] = 0.3,
    max_detections: Annotated[
        int | None,
        typer.Option(help='Boxes per image; default: 300.', rich_help_panel=_BOXES),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            help='Best boxes that suppression looks at; default: 512.', rich_help_panel=_BOXES
        ),
    ] = None,
    strides: Annotated[
        str | None,
        typer.Option(
            metavar='A,B,...',
            help='Of the levels of yolox and nanodet, in order; default: as the rows fit.',
            rich_help_panel=_BOXES,
        ),
    ] = None,
    boxes_output: Annotated[
        str | None,
        typer.Option(
            help='Families decoded, ssd, detr: output with the boxes.', rich_help_panel=_BOXES
        ),
    ] = None,
    scores_output: Annotated[
        str | None,
        typer.Option(
            help='Families decoded, ssd, detr: output with the scores.', rich_help_panel=_BOXES
        ),
    ] = None,
    background: Annotated[
        int | None,
        typer.Option(
            min=0, max=1, help='Families decoded, ssd: columns of the scores before the first '
            'class; default: 0 and 1. Family detr: 1 if the last one stands for no object.',
            rich_help_panel=_BOXES,
        ),
    ] = None,
    mask_cells: Annotated[
        int,
        typer.Option(
            min=4, max=256, help='Rows and columns of a mask made of prototypes.',
            rich_help_panel=_BOXES,
        ),
    ] = 28,
    batch: Annotated[
        str,
        typer.Option(
            help='dynamic: the graph must take any batch; loop: image by image; auto: loop only '
            'where it must be.'
        ),
    ] = 'auto',
    name: Annotated[
        str, typer.Option(help='Default: the name of the folder.', rich_help_panel=_ABOUT)
    ] = '',
    description: Annotated[str, typer.Option(rich_help_panel=_ABOUT)] = '',
    source: Annotated[
        str, typer.Option(help='Who made the weights.', rich_help_panel=_ABOUT)
    ] = '',
    data: Annotated[
        str, typer.Option(help='What they were trained on.', rich_help_panel=_ABOUT)
    ] = 'unknown',
    licence: Annotated[
        str, typer.Option(help='Of the weights, SPDX.', rich_help_panel=_ABOUT)
    ] = 'unknown',
    data_licence: Annotated[
        str, typer.Option(help='Terms of the training data.', rich_help_panel=_ABOUT)
    ] = 'unknown',
) -> None:
    """Turn a foreign ONNX model into a bundle.

    Normalisation, decoding and suppression go into the graph, and its batch becomes dynamic. At
    the end the bundle is compared with the original; nothing is written unless they agree.
    """
    by_head = _labels(labels or [])
    with values_refused():
        provenance = ProvenanceInfo(source=source or model.name, data=data)
        terms = LicenceInfo(weights=licence, data=data_licence)
    options = ImportOptions(
        name=name,
        description=description,
        input_size=_size(input_size),
        pixels=_pixels(order=order, divisor=divisor, mean=mean, std=std),
        letterbox=_given(anchor=anchor, pad_value=pad, rounding=rounding, upscale=upscale),
        classes=by_head.pop('', None),
        heads=_heads(head or [], by_head),
        boxes_output=boxes_output,
        scores_output=scores_output,
        strides=_strides(strides),
        background=background,
        mask_cells=mask_cells,
        batch=_batch(batch),
        selection=_selection(nms_iou, max_detections, candidates),
        score_threshold=score_threshold,
        provenance=provenance,
        licence=terms,
    )
    console = Console()
    images = [_image(path) for path in verify or []]
    bundle = import_model(
        model,
        output,
        family=family,
        options=options,
        images=images,
        overwrite=overwrite,
        report=lambda proof: console.print(_table(proof)),
        announce=lambda sentence: console.print(
            sentence, highlight=False, markup=False, soft_wrap=True
        ),
    )
    tasks = ', '.join(bundle.manifest.tasks)
    console.print(f'{bundle.path}: {tasks}', highlight=False, markup=False, soft_wrap=True)


def _labels(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Return class names by semantic head; those of the boxes under ''."""
    by_head: dict[str, tuple[str, ...]] = {}
    for item in given:
        head, _, names = item.rpartition('=')
        if names == 'coco':
            by_head[head] = COCO
        elif Path(names).suffix in ('.txt', '.names') or os.path.isfile(names):
            by_head[head] = _label_file(Path(names))
        else:
            by_head[head] = tuple(name.strip() for name in names.split(','))
    return by_head


def _label_file(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ImportModelError(
            f'--labels: expected a text file with one name a line, got {path}; {error}'
        ) from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise ImportModelError(f'--labels: expected one name a line in {path}, got none')
    return names


def _heads(
    given: list[str], labels: dict[str, tuple[str, ...]]
) -> dict[str, HeadOptions] | None:
    heads: dict[str, HeadOptions] = {}
    for item in given:
        head, equals, rest = item.partition('=')
        output, _, stride = rest.partition('@')
        if not equals or not head or not output or not (stride or '1').isdecimal():
            raise ImportModelError(
                f'--head: expected HEAD=OUTPUT or HEAD=OUTPUT@STRIDE, got {item!r}'
            )
        heads[head] = HeadOptions(output, labels.get(head), int(stride) if stride else None)
    if unknown := sorted(set(labels) - set(heads)):
        raise ImportModelError(
            f'--labels: names heads {unknown} that no --head names; expected some of '
            f'{sorted(heads)}, or add --head {unknown[0]}=OUTPUT'
        )
    return heads or None


def _given(**values: Any) -> dict[str, Any] | None:
    """Return what a user gave; the family has the rest. None: nothing was given."""
    return {key: value for key, value in values.items() if value is not None} or None


def _pixels(**values: Any) -> dict[str, Any] | None:
    changes = _given(**values) or {}
    for key in changes.keys() & {'mean', 'std'}:
        numbers = _numbers(f'--{key}', changes[key])
        if len(numbers) != 3:
            raise ImportModelError(f'--{key}: expected three numbers, got {changes[key]!r}')
        changes[key] = numbers
    return changes or None


def _selection(
    nms_iou: float | None, max_detections: int | None, candidates: int | None
) -> dict[str, Any] | None:
    changes = _given(max_detections=max_detections, candidates=candidates) or {}
    if nms_iou is not None:
        changes['nms_iou'] = nms_iou or None
    return changes or None


def _strides(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    strides = [part.strip() for part in text.split(',')]
    if not all(part.isdecimal() and 1 <= int(part[:9]) <= 1024 for part in strides):
        raise ImportModelError(
            f'--strides: expected whole numbers from 1 to 1024 such as 8,16,32, got {text!r}'
        )
    return tuple(map(int, strides))


def _batch(text: str) -> Literal['auto', 'dynamic', 'loop']:
    if text not in ('auto', 'dynamic', 'loop'):
        raise ImportModelError(f"--batch: expected 'auto', 'dynamic' or 'loop', got {text!r}")
    return cast(Literal['auto', 'dynamic', 'loop'], text)


def _numbers(flag: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(','))
    except ValueError as error:
        raise ImportModelError(f'{flag}: expected numbers such as 1,2,3, got {text!r}') from error


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    width, _, height = text.partition('x')
    if not (width.isdecimal() and height.isdecimal()):
        raise ImportModelError(f'--input-size: expected WIDTHxHEIGHT, got {text!r}')
    return int(width), int(height)


def _image(path: Path) -> Image:
    try:
        return Image.compressed(path.read_bytes())
    except OSError as error:
        raise ImportModelError(f'--verify: cannot read {path}: {error.strerror}') from error


def _table(proof: Proof) -> Table:
    table = Table(
        'output', 'batch', 'in images', 'greatest difference', 'allowed', '',
        box=SIMPLE_HEAD,
        title=f'Bundle against the original, on {proof.images}', title_justify='left',
        pad_edge=False,
    )
    for row in proof.rows:
        cells = (row.output, str(row.batch), row.compared, row.difference, row.allowed)
        verdict = Text('same', 'green') if row.ok else Text('differs', 'red')
        table.add_row(*map(Text, cells), verdict)
    return table
