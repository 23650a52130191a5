"""The model card: what a run's own records say, and nothing else."""

from typing import Any

from perception_ros.bundles.manifest import Manifest
from perception_ros.bundles.proof import Proof
from perception_training.config import Config


def write_card(manifest: Manifest, record: dict[str, Any], training: dict[str, Any],
               metrics: dict[str, Any], proof: Proof, config: Config) -> str:
    """
    Give the text of CARD.md.

    :param record: `run.json`, see `record`.
    :param training: optimiser `steps` and `minutes`.
    :param metrics: what `evaluate` gave for the bundle.
    :param proof: the bundle's graph compared with the exported network.
    """
    assert manifest.detection is not None
    scene, boxes = metrics['camvid_val'], metrics['idd_val']
    start_classes = metrics.get('idd_val_start', {'classes': {}})['classes']
    size = f'{config.width}x{config.height}'
    drives = config.idd_val_drives.read_text().split()
    start = (f'`{config.start_from.name}` (YOLOX-nano, Apache-2.0, trained on COCO)'
             if config.start_from else 'random weights')
    clean = '' if record['clean'] else ', with changes that were not committed'
    lines = [
        f'# {manifest.name}',
        '',
        manifest.description,
        f'Boxes of {_list(c.name for c in manifest.detection.classes)}; mask `scene` of '
        f'{_list(c.name for c in manifest.semantic["scene"].classes)}. Input {size} px, '
        f'{manifest.precision}.',
        '',
        '**Research use only**: the training data allow no commercial use. A small model made in '
        'a short time, as a working example: not fit for driving a vehicle.',
        '',
        '## Data',
        '',
        '| data | use | licence |',
        '|---|---|---|',
        '| CamVid train, 367 images | scene labels; boxes from a teacher | CC BY-NC 4.0 |',
        '| IDD, 194 images of the training drives | boxes; road from a teacher | research use |',
        '| motorway clip, every fourth of 221 frames | boxes and road from teachers | MIT |',
        '',
        f'Weights start from {start}. Teachers: the same YOLOX-nano, on whole images and on '
        'tiles, gives boxes where data have none (on CamVid only where the scene labels agree) '
        'and regions of IDD that may hold something unlabelled, which then count as unknown; '
        'TwinLiteNet (MIT, trained on BDD100K) gives confident road for IDD and the clip. '
        'Teachers saw no validation image.',
        '',
        '## Training',
        '',
        f'- Command: `{" ".join(record["command"])}`',
        f'- Commit {record["commit"]}{clean}; seed {record["seed"]}; torch {record["torch"]}',
        *(f'- Resumed {again["started"]} from its checkpoint at commit {again["commit"]}'
          for again in record.get('resumed', [])),
        f'- {training["steps"]} steps of {config.batch.batch} images, '
        f'{training["minutes"]} minutes on {record["hardware"]}',
        '- Nothing was chosen on the validation images: the weights are the running average at '
        'the end of the schedule.' + (
            ' The schedule ends by the clock, so another run makes other steps.'
            if config.optim.max_minutes else ''),
        '',
        '## Measured',
        '',
        "On this bundle in ONNX Runtime, through the runtime's own letterbox.",
        '',
        f'**Scene, CamVid val, {scene["images"]} images: mIoU {scene["miou"]:.3f}** over 11 '
        f'classes, pixel accuracy {scene["pixel_accuracy"]:.3f}. This is optimistic: val is one '
        'clip of a drive of which train holds 204 frames.',
        '',
        '| class | IoU |',
        '|---|---|',
        *(f'| {name} | {value:.3f} |' for name, value in scene['iou'].items()),
        '',
        f'**Boxes, IDD drives held out ({", ".join(drives)}), {boxes["images"]} images: mAP50 '
        f'{boxes["map50"]:.3f}.** A drive is a recording date; none is in training. n = true '
        "boxes; AP by COCO's rules, 100 boxes an image.",
        '',
        '| class | n | AP50 | AP50:95 | AP50 of the start weights |',
        '|---|---|---|---|---|',
        *(f'| {name} | {c["n"]} | {_number(c, "ap50")} | {_number(c, "ap")} | '
          f'{_number(start_classes.get(name, {"n": 0}), "ap50")} |'
          for name, c in boxes['classes'].items()),
        '',
        'The last column is the network as it was before training, with the rows of its 80 '
        'classes that are ours, at the same input size.',
        '',
        'IDD labels neither motorbikes nor riders nor autorickshaws here: a rider found as a '
        'person, or an autorickshaw as a car, counts as an error. A class with few boxes has '
        'an AP that a handful of images decide.',
        '',
        f'The graph against the exported network, on {proof.images}:',
        '',
        '| output | batch | compared | greatest difference | allowed |',
        '|---|---|---|---|---|',
        *(f'| {row.output} | {row.batch} | {row.compared} | {row.difference} | {row.allowed} |'
          for row in proof.rows),
        '',
        '## Known limits',
        '',
        '- Scene classes other than road come from CamVid alone, a single town by day: elsewhere '
        'expect errors, above all verges and grass, walls and bridges.',
        "- Road of other surroundings is taught by another model's confident answers only; "
        'shoulders and distant lanes may be missing.',
        '- Trained on dry roads by day and dusk: night, rain and snow are new to it.',
        '- Boxes of a few pixels of input are missed; a wide road far away needs a longer lens.',
        '- `car` in the mask means any motor vehicle with four wheels or more, as in CamVid; '
        'boxes tell car, truck and bus apart.',
        '',
    ]
    return '\n'.join(lines)


def _number(measured: dict[str, Any], key: str) -> str:
    # Without a true box there is nothing to find: no number is better than a zero.
    return f'{measured[key]:.3f}' if measured['n'] else '-'


def _list(names: Any) -> str:
    return ', '.join(names)
