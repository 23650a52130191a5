"""Why a limit is broken, in words: what was wanted, what came, and what lies behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perception_ros.replay.limits import Limit, look_up

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Reason:
    """A limit, what came, and a sentence that explains it; '' where there is nothing to add."""

    key: str
    wanted: str
    got: str
    is_kept: bool
    why: str


def reasons(summary: Summary, baseline: Summary | None) -> list[Reason]:
    """Return all limits of a run, the broken ones first."""
    found = [_reason(item, summary, baseline) for item in summary.get('limits', [])]
    return sorted(found, key=lambda item: item.is_kept)


def _reason(item: Mapping[str, Any], summary: Summary, baseline: Summary | None) -> Reason:
    limit, value = Limit.parse(item['limit']), item['value']
    unit = ' %' if limit.is_percent else ''
    why = '' if item['is_kept'] else _why(limit.key, value, summary, baseline)
    got = 'not measured' if value is None else f'{value:.4g}{unit}'
    return Reason(limit.key, f'{limit.sign} {limit.bound:g}{unit}', got, item['is_kept'], why)


def _why(key: str, value: float | None, summary: Summary, baseline: Summary | None) -> str:
    """Return the sentence that explains a broken limit."""
    if value is None:
        return 'Nothing that was labelled tells; a limit that cannot be measured is broken.'
    if key.startswith('comparison.'):
        return _since(key.removeprefix('comparison.'), summary, baseline)
    if key.startswith('frames_dropped') or key == 'frames.dropped':
        return _dropped(key.rpartition('.')[2], summary)
    if key.startswith('faults.'):
        for fault in summary.get('faults') or []:
            if key.startswith(f'faults.{fault["name"]}.'):
                return f'Expected: {fault["expected"]}.'
    before = _before(key, baseline)
    return ' '.join(part for part in (_behind(key, summary, baseline), before) if part)


def _behind(key: str, summary: Summary, baseline: Summary | None) -> str:
    """Name the class that a figure of accuracy suffers most from."""
    models = summary.get('accuracy', {})
    for model, figures in models.items():
        inner = key.removeprefix(f'accuracy.{model}.')
        start = f'accuracy.{model}.' if inner != key else ''
        for name, item in figures['classes'].items():
            if inner.startswith(f'classes.{name}.'):
                return f'{_found(model, name, item, baseline)}.'
        if start or len(models) == 1 or key in ('mAP50', 'mAP', 'mIoU'):
            if inner in ('mAP50', 'mAP') and (said := _lost(model, figures, baseline)):
                return said
            if inner.endswith('mIoU') and (said := _least(model, figures, baseline)):
                return said
    return ''


def _lost(model: str, figures: Summary, baseline: Summary | None) -> str:
    """Name the classes of which most true boxes were missed, or more than before."""
    def loss(name: str) -> int:
        item = figures['classes'][name]
        before = _class_before(model, name, baseline)
        return int((item['n'] if before is None else before) - item['found'])

    worst = sorted((n for n in figures['classes'] if loss(n) > 0), key=loss, reverse=True)[:2]
    said = '; '.join(_found(model, n, figures['classes'][n], baseline) for n in worst)
    return f'{said}.' if said else ''


def _least(model: str, figures: Summary, baseline: Summary | None) -> str:
    """Name the classes whose masks overlap least, or have lost most."""
    rows = []
    for head, item in figures['heads'].items():
        for name, row in item['classes'].items():
            if row['IoU'] is not None:
                before = _before_value(
                    ('accuracy', model, 'heads', head, 'classes', name, 'IoU'), baseline)
                rows.append((row['IoU'] - (1.0 if before is None else before), name, row, before))
    said = [
        f'{name}: IoU {row["IoU"]:.2f}' + ('' if before is None else f', {before:.2f} before')
        for _, name, row, before in sorted(rows, key=lambda row: row[0])[:2]
    ]
    return f'{"; ".join(said)}.' if said else ''


def _found(model: str, name: str, item: Summary, baseline: Summary | None) -> str:
    before = _class_before(model, name, baseline)
    old = '' if before is None else f', {before} in the baseline'
    return f'{name}: {item["found"]} of {item["n"]} found{old}'


def _class_before(model: str, name: str, baseline: Summary | None) -> int | None:
    value = _before_value(('accuracy', model, 'classes', name, 'found'), baseline)
    return None if value is None else int(value)


def _before_value(path: tuple[str, ...], tree: Any) -> float | None:
    for part in path:
        tree = tree.get(part) if isinstance(tree, Mapping) else None
    return tree if isinstance(tree, (int, float)) else None


def _before(key: str, baseline: Summary | None) -> str:
    """Say what the same figure was in the baseline."""
    found = look_up(key, baseline) if baseline else []
    if not found or found[0] is None:
        return ''
    return f'The baseline has {found[0]:.4g}.'


def _dropped(reason: str, summary: Summary) -> str:
    """Say which cameras lost frames for a reason, or for any."""
    counts = {
        camera: sum(n for name, n in found.items() if reason in (name, 'dropped'))
        for camera, found in summary['frames_dropped_by_camera'].items()
    }
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    said = ', '.join(f'{camera} {count}' for camera, count in ordered[:4] if count)
    return f'Lost by camera: {said}.' if said else ''


def _since(key: str, summary: Summary, baseline: Summary | None) -> str:
    """Explain a figure of the comparison with the baseline."""
    if key.startswith('difference.'):
        figure = key.removeprefix('difference.')
        new = next(iter(look_up(figure, summary)), None)
        old = next(iter(look_up(figure, baseline)), None) if baseline else None
        moved = '' if new is None or old is None else f'{figure} went from {old:.4g} to {new:.4g}.'
        return ' '.join(part for part in (moved, _behind(figure, summary, baseline)) if part)
    classes = {
        f'{name}': counts.get(key, 0)
        for item in summary['comparison']['models'].values()
        for name, counts in item['classes'].items()
    }
    ordered = sorted(classes.items(), key=lambda item: -item[1])
    said = ', '.join(f'{name} {count}' for name, count in ordered[:4] if count)
    return f'By class: {said}.' if said else ''
