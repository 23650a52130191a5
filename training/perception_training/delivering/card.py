"""The model card: what a run's own records and settings say, and nothing else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from perception_ros.bundles.manifest import Manifest
from perception_training.config import Config
from perception_training.delivering.proof import Agreement
from perception_training.measuring.evaluate import Metrics
from perception_training.models import BOXES, MASKS


@dataclass(frozen=True)
class Facts:
    """What is known of a run at its end."""

    record: dict[str, Any]
    """`run.json`, see `fitting.record`."""
    steps: int
    minutes: float
    metrics: Metrics
    """Of the bundle."""
    start: Metrics
    """Of the network before training; empty where it had learnt nothing elsewhere."""
    agreement: Sequence[Agreement]
    chosen: bool = False
    """Whether it is the checkpoint that did best on the validation images, not the last one."""


def write_card(manifest: Manifest, config: Config, facts: Facts) -> str:
    """Give the text of CARD.md."""
    lines = [f'# {manifest.name}', '', manifest.description, *_what(manifest), '',
             *_data(manifest, config), *_training(config, facts), *_measured(config, facts),
             *_agreement(facts.agreement)]
    if config.bundle.limits:
        lines += ['## Known limits', '', *(f'- {limit}' for limit in config.bundle.limits), '']
    return '\n'.join(lines)


def _what(manifest: Manifest) -> list[str]:
    says = []
    if manifest.detection is not None:
        masks = ', each with its mask' if manifest.detection.masks else ''
        says.append(f'Boxes of {_list(c.name for c in manifest.detection.classes)}{masks}.')
    says += [f'Mask `{head}` of {_list(c.name for c in info.classes)}.'
             for head, info in manifest.semantic.items()]
    size = f'{manifest.input.width}x{manifest.input.height}'
    return [*says, f'Input {size} px, {manifest.precision}.']


def _data(manifest: Manifest, config: Config) -> list[str]:
    rows = [f'| {row.name} | {row.use} | {row.licence} |' for row in config.bundle.data]
    table = ['| data | use | licence |', '|---|---|---|', *rows, ''] if rows else [
        'Not said.', '']
    return ['## Data', '', f'Weights: {manifest.licence.weights}.', '', *table,
            *_paragraphs(f'Weights start from {config.bundle.start}.', *config.bundle.notes)]


def _training(config: Config, facts: Facts) -> list[str]:
    record, fit = facts.record, config.fit
    clean = '' if record['clean'] else ', with changes that were not committed'
    images = fit.batch * fit.accumulate * record.get('processes', 1)
    return [
        '## Training', '',
        f'- Command: `{" ".join(record["command"])}`',
        f'- Commit {record["commit"]}{clean}; seed {record["seed"]}; torch {record["torch"]}',
        *(f'- Resumed {again["started"]} from its checkpoint at commit {again["commit"]}'
          for again in record.get('resumed', [])),
        f'- {facts.steps} steps of {images} images, {facts.minutes} minutes on '
        f'{record["hardware"]}',
        _selection(facts) + (
            ' The schedule ends by the clock, so another run makes other steps.'
            if fit.max_minutes else ''),
        '']


def _selection(facts: Facts) -> str:
    if facts.chosen:
        return ('- The weights are the running average at the step that did best on the '
                'validation images (`best.pt`, highest mean of mAP50 and mIoU over all sets): '
                'chosen on what they are measured on, they look better than they are.')
    return ('- Nothing was chosen on the validation images: the weights are the running average '
            'at the end of the schedule (`last.pt`).')


def _measured(config: Config, facts: Facts) -> list[str]:
    lines = ['## Measured', '',
             *_paragraphs("On this bundle in ONNX Runtime, through the runtime's own letterbox.",
                          *config.bundle.val_notes)]
    for name, heads in facts.metrics.items():
        for head, numbers in heads.items():
            if head == BOXES:
                before = facts.start.get(name, {}).get(BOXES)
                lines += _precision('Boxes', name, numbers, before)
            elif head == MASKS:
                lines += _precision('Masks of the boxes', name, numbers, None)
            else:
                lines += _semantic(name, head, numbers)
    return lines


def _semantic(name: str, head: str, numbers: dict[str, Any]) -> list[str]:
    return [f'**Mask `{head}`, {name}, {numbers["images"]} images: mIoU {numbers["miou"]:.3f}** '
            f'over {len(numbers["iou"])} classes, pixel accuracy '
            f'{numbers["pixel_accuracy"]:.3f}.', '',
            '| class | IoU |', '|---|---|',
            *(f'| {label} | {value:.3f} |' for label, value in numbers['iou'].items()), '']


def _precision(what: str, name: str, numbers: dict[str, Any],
               before: dict[str, Any] | None) -> list[str]:
    head, rule = '| class | n | AP50 | AP50:95 |', '|---|---|---|---|'
    rows = [f'| {label} | {c["n"]} | {_number(c, "ap50")} | {_number(c, "ap")} |'
            for label, c in numbers['classes'].items()]
    if before is not None:
        head, rule = f'{head} AP50 of the start weights |', f'{rule}---|'
        rows = [f'{row} {_number(before["classes"][label], "ap50")} |'
                for row, label in zip(rows, numbers['classes'], strict=True)]
    lines = [f'**{what}, {name}, {numbers["images"]} images: mAP50 {numbers["map50"]:.3f}.** '
             "n = true ones; AP by COCO's rules, 100 an image.", '', head, rule, *rows, '']
    if before is not None:
        lines += ['The last column is the network as it was before training, at the same input '
                  'size.', '']
    return lines


def _agreement(rows: Sequence[Agreement]) -> list[str]:
    return ['The bundle against the checkpoint in torch, on training images:', '',
            '| batch | images | boxes | without a partner | px | score | cells of label maps | '
            'pixels of masks |',
            '|---|---|---|---|---|---|---|---|',
            *(f'| {row.batch} | {row.images} | {row.boxes} | {row.unpaired} | {row.box_px:.4f} | '
              f'{row.score:.0e} | {row.cells:.3%} | {row.mask:.3%} |' for row in rows), '']


def _paragraphs(*texts: str) -> list[str]:
    return [line for text in texts for line in (text, '')]


def _number(measured: dict[str, Any], key: str) -> str:
    # Without a true box there is nothing to find: no number is better than a zero.
    return f'{measured[key]:.3f}' if measured['n'] else '-'


def _list(names: Iterable[str]) -> str:
    return ', '.join(names)
