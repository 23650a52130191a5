"""`perception_ros import`: turn a foreign ONNX model into a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.bundles.families import FAMILIES, Family, family_of
from perception_ros.bundles.graph.nms import Selection
from perception_ros.bundles.graph.preprocess import PixelFormat
from perception_ros.bundles.importing import import_model, values_refused
from perception_ros.bundles.labels import COCO
from perception_ros.bundles.manifest import LetterboxInfo, LicenceInfo, ProvenanceInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.bundles.proof import Proof
from perception_ros.core.errors import ImportModelError
from perception_ros.core.image import Image

_PIXELS, _FIT, _BOXES = 'What the network sees', 'How images are fitted', 'Boxes'
_MASKS, _ABOUT = 'Semantic heads', 'For the manifest and the card'


def import_(
    model: Annotated[Path, typer.Argument(help='ONNX file, one input: float [B, 3, H, W].')],
    family: Annotated[str, typer.Option(help=f'One of {", ".join(FAMILIES)}.')],
    output: Annotated[Path, typer.Option(help='Folder of the bundle, such as engines/NAME.')],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar='[HEAD=]NAMES',
            help='Class names in order: "a,b,c", a file with one a line, or coco. HEAD= for a '
            'semantic head, without for the boxes. Repeatable.',
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
        float, typer.Option(help='0: the head needs no suppression.', rich_help_panel=_BOXES)
    ] = 0.45,
    score_threshold: Annotated[
        float, typer.Option(help="The node's default.", rich_help_panel=_BOXES)
    ] = 0.3,
    max_detections: Annotated[
        int, typer.Option(help='Boxes per image.', rich_help_panel=_BOXES)
    ] = 300,
    candidates: Annotated[
        int, typer.Option(help='Best boxes that suppression looks at.', rich_help_panel=_BOXES)
    ] = 512,
    strides: Annotated[
        str, typer.Option(help="Of YOLOX's levels, in order.", rich_help_panel=_BOXES)
    ] = '8,16,32',
    boxes_output: Annotated[
        str, typer.Option(help='Family decoded: the boxes.', rich_help_panel=_BOXES)
    ] = 'boxes',
    scores_output: Annotated[
        str, typer.Option(help='Family decoded: the scores.', rich_help_panel=_BOXES)
    ] = 'scores',
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
    kind = family_of(family)
    by_head = _labels(labels or [])
    with values_refused():
        provenance = ProvenanceInfo(source=source or model.name, data=data)
        terms = LicenceInfo(weights=licence, data=data_licence)
    options = ImportOptions(
        name=name,
        description=description,
        input_size=_size(input_size),
        pixels=_pixels(kind, order=order, divisor=divisor, mean=mean, std=std),
        letterbox=_letterbox(
            kind, anchor=anchor, pad_value=pad, rounding=rounding, upscale=upscale
        ),
        classes=by_head.pop('', None),
        heads=_heads(head or [], by_head),
        boxes_output=boxes_output,
        scores_output=scores_output,
        strides=tuple(int(value) for value in _numbers('--strides', strides)),
        selection=Selection(max_detections, nms_iou or None, candidates),
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
    )
    console.print(f'{bundle.path}: {", ".join(bundle.manifest.tasks)}', highlight=False)


def _labels(given: list[str]) -> dict[str, tuple[str, ...]]:
    """Return class names by semantic head; those of the boxes under ''."""
    by_head: dict[str, tuple[str, ...]] = {}
    for item in given:
        head, _, names = item.rpartition('=')
        if names == 'coco':
            by_head[head] = COCO
        elif Path(names).is_file():
            lines = Path(names).read_text(encoding='utf-8').splitlines()
            by_head[head] = tuple(line.strip() for line in lines if line.strip())
        else:
            by_head[head] = tuple(name.strip() for name in names.split(','))
    return by_head


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


def _pixels(kind: Family, **given: Any) -> PixelFormat | None:
    changes = {key: value for key, value in given.items() if value is not None}
    for key in changes.keys() & {'mean', 'std'}:
        values = _numbers(f'--{key}', changes[key])
        if len(values) != 3:
            raise ImportModelError(f'--{key}: expected three numbers, got {changes[key]!r}')
        changes[key] = values
    return replace(kind.pixels, **changes) if changes else None


def _letterbox(kind: Family, **given: Any) -> LetterboxInfo | None:
    changes = {key: value for key, value in given.items() if value is not None}
    with values_refused():
        return LetterboxInfo(**(kind.letterbox.model_dump() | changes)) if changes else None


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
        verdict = '[green]same[/]' if row.ok else '[red]differs[/]'
        table.add_row(
            row.output, str(row.batch), row.compared, row.difference, row.allowed, verdict
        )
    return table
