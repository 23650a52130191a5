"""`perception_ros inspect`: check a bundle and show what it says about itself."""

from __future__ import annotations

import json
from typing import Annotated, Any

import onnx
from rich.console import Console
from rich.table import Table
from rich.text import Text
import typer

from perception_ros.bundles import Bundle
from perception_ros.bundles.contract import expected_input, expected_outputs, INPUT_NAME
from perception_ros.bundles.manifest import ClassInfo


def inspect(
    bundle: Annotated[str, typer.Argument(help='Its folder, or the name of a shipped one.')],
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON, no table.')] = False,
) -> None:
    """Check a bundle (manifest, SHA-256, contract) and show what it says about itself."""
    opened = Bundle.load(bundle)
    if as_json:
        typer.echo(json.dumps(describe(opened), indent=2, ensure_ascii=False))
    else:
        Console().print(_table(opened))


def describe(bundle: Bundle) -> dict[str, Any]:
    """Return all that is known about a bundle, ready for JSON."""
    manifest = bundle.manifest
    model = onnx.load(str(bundle.graph_path))
    return {
        'path': str(bundle.path),
        'tasks': list(manifest.tasks),
        'graph': {
            'bytes': bundle.graph_path.stat().st_size,
            'opset': {item.domain or 'ai.onnx': item.version for item in model.opset_import},
            'nodes': len(model.graph.node),
            'inputs': {INPUT_NAME: str(expected_input(manifest))},
            'outputs': {name: str(spec) for name, spec in expected_outputs(manifest).items()},
        },
        'card': bundle.card_path.is_file(),
        'manifest': manifest.model_dump(mode='json'),
    }


def _table(bundle: Bundle) -> Table:
    manifest, facts = bundle.manifest, describe(bundle)
    table = Table(
        title=manifest.name, title_justify='left', show_header=False, box=None, pad_edge=False
    )
    table.add_column(style='bold', no_wrap=True)
    table.add_column(overflow='fold')
    fit = manifest.input.letterbox
    table.add_row('description', Text(manifest.description))
    table.add_row('folder', Text(facts['path']))
    table.add_row('tasks', ', '.join(manifest.tasks))
    table.add_row('input', Text(f'{INPUT_NAME}: {expected_input(manifest)}'))
    table.add_row(
        'letterbox',
        f'{fit.anchor}, grey {fit.pad_value}, rounding {fit.rounding}'
        + ('' if fit.upscale else ', never enlarged'),
    )
    for name, spec in expected_outputs(manifest).items():
        table.add_row('output', Text(f'{name}: {spec}'))
    if detection := manifest.detection:
        nms = f'NMS at IoU {detection.nms_iou}' if detection.nms_iou else 'needs no NMS'
        table.add_row('boxes', f'{nms}, default threshold {detection.score_threshold}')
        table.add_row('classes', _classes(detection.classes))
    for head, info in manifest.semantic.items():
        table.add_row(f'mask {head}', _classes(info.classes))
    graph = facts['graph']
    kept = len(manifest.kept_fp32)
    table.add_row('precision', manifest.precision + (f', {kept} layers fp32' if kept else ''))
    table.add_row('graph', Text(
        f'{manifest.graph.file}, {graph["bytes"] / 1e6:.1f} MB, {graph["nodes"]} nodes, opset '
        f'{graph["opset"].get("ai.onnx", "?")}, SHA-256 {manifest.graph.sha256[:12]}… matches'
    ))
    origin = manifest.provenance
    table.add_row('source', Text(origin.source))
    table.add_row('data', Text(origin.data))
    for name, value in origin.metrics.items():
        table.add_row(Text(f'metric {name}'), Text(json.dumps(value, ensure_ascii=False)))
    table.add_row('licence', Text(f'{manifest.licence.weights}; data: {manifest.licence.data}'))
    if manifest.licence.notice:
        table.add_row('notice', Text(manifest.licence.notice))
    return table


def _classes(classes: tuple[ClassInfo, ...]) -> Text:
    """Return the names behind dots of their colours."""
    text = Text()
    for item in classes:
        text.append('● ', style='rgb({},{},{})'.format(*item.color))
        text.append(f'{item.name}  ')
    return text
