"""The model card of an imported bundle, made from its manifest and its proof."""

from __future__ import annotations

from collections.abc import Sequence

from perception_ros.bundles.manifest import ClassInfo, Manifest
from perception_ros.bundles.proof import Proof


def write_card(manifest: Manifest, proof: Proof, notes: Sequence[str] = ()) -> str:
    """Return the text of CARD.md; `notes` are sentences about the import."""
    size = f'{manifest.input.width}x{manifest.input.height}'
    lines = [
        f'# {manifest.name}',
        '',
        manifest.description,
        '',
        f'- Tasks: {", ".join(manifest.tasks)}; input {size} px, {manifest.precision}.',
        f'- Weights: {manifest.provenance.source}. Licence: {manifest.licence.weights}.',
        f'- Training data: {manifest.provenance.data}. Terms: {manifest.licence.data}.',
    ]
    if manifest.licence.notice:
        lines.append(f'- {manifest.licence.notice}')
    if manifest.detection:
        lines.append(f'- Boxes of {_names(manifest.detection.classes)}.')
    for head, info in manifest.semantic.items():
        lines.append(f'- Mask `{head}`, one cell per {info.stride} px: {_names(info.classes)}.')
    lines += [
        '',
        '## Import',
        '',
        *(f'- Note: {note}' for note in notes),
        *([''] if notes else []),
        f'Compared with the original graph, run by its own recipe, on {proof.images}:',
        '',
        '| output | batch | compared, in images | greatest difference | allowed |',
        '|---|---|---|---|---|',
    ]
    for row in proof.rows:
        cells = (row.output, row.batch, row.compared, row.difference, row.allowed)
        lines.append('| ' + ' | '.join(str(cell) for cell in cells) + ' |')
    lines += ['', '## Known limits', '', 'Not measured here: see the source of the weights.', '']
    return '\n'.join(lines)


def _names(classes: tuple[ClassInfo, ...]) -> str:
    names = [item.name for item in classes]
    if len(names) > 12:
        return f'{len(names)} classes: {", ".join(names[:6])}, ...'
    return ', '.join(names)
