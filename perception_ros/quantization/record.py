"""What a bundle in lower precision says about how it was made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, TYPE_CHECKING

from perception_ros.benchmarks.report import EngineRow
from perception_ros.core.machine import cpu_features, cpu_name
from perception_ros.evaluation import Accuracy
from perception_ros.quantization.gate import boxes_changed

if TYPE_CHECKING:
    from perception_ros.quantization.quantize import Outcome

DOUBTFUL_MASKS = 0.03
"""Share of mask cells that changes in a backend, from which on its accuracy is to be measured."""


class Figure(NamedTuple):
    """One measure of accuracy before and after."""

    dataset: str
    name: str
    before: float | None
    after: float | None

    @property
    def change(self) -> float | None:
        """After less before; None where either is missing."""
        if self.before is None or self.after is None:
            return None
        return self.after - self.before


class Speed(NamedTuple):
    """Latency in one backend at one batch, before and after."""

    backend: str
    problem: str | None
    before_ms: float = 0.0
    after_ms: float = 0.0
    times: float = 0.0
    """Median ratio of neighbours, before / after: above 1 is faster."""
    changed: str = ''
    """How far its answers lie from those of ONNX Runtime in fp32."""
    doubts: tuple[str, ...] = ()
    """Where that is farther than is allowed, although ONNX Runtime itself passed."""


def figures(outcome: Outcome) -> Iterator[Figure]:
    """Yield every measure: the means, then each class."""
    for before, after in zip(outcome.before, outcome.after, strict=True):
        old, new = dict(_measures(before)), dict(_measures(after))
        for name, value in old.items():
            yield Figure(before.dataset, name, value, new[name])


def speeds(outcome: Outcome) -> Iterator[Speed]:
    """Yield a line for each backend that was tried."""
    groups: dict[str, list[EngineRow]] = {}
    for row in outcome.rows:
        groups.setdefault(f'{row.backend}, batch {row.batch}', []).append(row)
    source = outcome.request.bundle.manifest.name
    for backend, rows in groups.items():
        named = {row.bundle == source: row for row in rows}
        before, after = named.get(True), named.get(False)
        if not (before and after and before.latency_ms and after.latency_ms):
            problems = [row.problem for row in rows if row.problem]
            yield Speed(backend, problems[0] if problems else 'not measured')
            continue
        yield Speed(
            backend, None, before.latency_ms.median, after.latency_ms.median,
            before.latency_ms.median / after.latency_ms.median, _changed(after),
            _doubts(after, outcome.request.precision),
        )


def write_metrics(outcome: Outcome) -> dict[str, Any]:
    """Return the figures for the manifest, by name: those of the new bundle."""
    candidate = outcome.candidate
    return {
        'accuracy': {new.dataset: new.figures for new in outcome.after},
        'layers': candidate.weighted - len(candidate.kept),
        'layers_kept': len(candidate.kept),
        'boxes': outcome.changes.boxes,
        'boxes_lost': outcome.changes.lost,
        'boxes_gained': outcome.changes.gained,
        'mask_share_changed': outcome.changes.mask_share,
    }


def write_card(card: str, outcome: Outcome) -> str:
    """Return the text of CARD.md: the old one and a section about the precision."""
    request, candidate = outcome.request, outcome.candidate
    done = candidate.weighted - len(candidate.kept)
    lines = [
        '## Lower precision', '',
        f'Made from the fp32 bundle `{request.bundle.manifest.name}` by `perception_ros quantize '
        f'--precision {request.precision}`: {done} of {candidate.weighted} layers with weights '
        f'are in {request.precision}. What is said above was measured in fp32, unless it is '
        'repeated here.', '',
        f'- Images: {outcome.images}.',
        f'- Graph: {outcome.bytes_before / 1e6:.2f} MB before, {outcome.bytes_after / 1e6:.2f} MB '
        'after.',
        f'- Answers on the images held out: {changes(outcome)}.',
    ]
    if candidate.kept:
        lines.append(f'- In fp32 stay {", ".join(candidate.kept)}: {candidate.reason}.')
    if not outcome.before:
        lines.append('- Accuracy was not measured: no labelled data were given.')
    for dataset in dict.fromkeys(figure.dataset for figure in figures(outcome)):
        lines += ['', f'On {dataset}, ONNX Runtime:', '', '| | fp32 | '
                  f'{request.precision} | change |', '|---|---|---|---|']
        for figure in figures(outcome):
            if figure.dataset == dataset:
                cells = (figure.before, figure.after, figure.change)
                lines.append(f'| {figure.name} | ' + ' | '.join(map(_cell, cells)) + ' |')
    if outcome.rows:
        lines += ['', f'Latency of one call on {machine()}, in turns:', '',
                  f'| backend | fp32 | {request.precision} | times as fast | from ONNX Runtime '
                  'fp32 |', '|---|---|---|---|---|']
        lines += [
            f'| {speed.backend} | {speed.before_ms:.1f} ms | {speed.after_ms:.1f} ms | '
            f'{speed.times:.2f} | {speed.changed} |'
            for speed in speeds(outcome) if speed.problem is None
        ]
        for doubt in doubts(outcome):
            lines += ['', doubt]
    return card.rstrip('\n') + '\n\n' + '\n'.join(lines) + '\n'


def changes(outcome: Outcome) -> str:
    """Say how far the answers on the held-out images have changed."""
    found = outcome.changes
    parts = []
    if outcome.request.bundle.manifest.detection:
        parts.append(f'of {found.boxes} boxes {found.lost} lost, {found.gained} gained')
    if found.mask_share is not None:
        parts.append(f'{found.mask_share:.2%} of mask cells changed')
    return '; '.join(parts)


def doubts(outcome: Outcome) -> Iterator[str]:
    """Warn of backends that compute the graph otherwise than the one that it was measured in."""
    for speed in speeds(outcome):
        if speed.doubts:
            yield (
                f'Measure its accuracy in {speed.backend}, before it is used there: '
                f'{"; ".join(speed.doubts)}.'
            )


def machine() -> str:
    """Say what CPU this is, with what matters to precision."""
    features = ', '.join(cpu_features())
    return f'{cpu_name()} ({features or "no feature that speeds up lower precision"})'


def _measures(accuracy: Accuracy) -> Iterator[tuple[str, float | None]]:
    if accuracy.boxes:
        yield 'mAP50', accuracy.boxes.map50
        yield 'mAP50-95', accuracy.boxes.map
        for name, item in accuracy.boxes.classes.items():
            yield f'AP50 {name}', item.ap50
    for head, mask in accuracy.masks.items():
        yield f'mIoU {head}', mask.miou
        for name, overlap in mask.classes.items():
            yield f'IoU {head}/{name}', overlap.iou


def _changed(row: EngineRow) -> str:
    if row.difference is None:
        return '-'
    parts = []
    if row.difference.box_px is not None:
        parts.append(f'{row.difference.lost + row.difference.gained} of {row.difference.boxes} '
                     'boxes')
    if row.difference.mask_share is not None:
        parts.append(f'{row.difference.mask_share:.2%} of mask cells')
    return ', '.join(parts)


def _doubts(row: EngineRow, precision: str) -> tuple[str, ...]:
    if row.difference is None:
        return ()
    doubted = [*boxes_changed(row.difference, precision)]
    if (row.difference.mask_share or 0.0) > DOUBTFUL_MASKS:
        doubted += [f'{row.difference.mask_share:.1%} of the mask cells change']
    return tuple(doubted)


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.3f}'
