"""The whole way in a few minutes: train, watch, export, prove, and run what came out."""

from dataclasses import dataclass
import json
from pathlib import Path
import shutil
import time

from rich.console import Console

from perception_ros.bundles import Bundle
from perception_training.config import Config
from perception_training.data.readers import open_source
from perception_training.delivering.bundle import make_bundle
from perception_training.demo.pictures import beside, write_jpeg
from perception_training.errors import TrainingError
from perception_training.fitting.log import read_numbers
from perception_training.fitting.loop import fit
from perception_training.fitting.record import start_record
from perception_training.fitting.run import Trained
from perception_training.measuring.evaluate import evaluate, Metrics
from perception_training.measuring.predict import bundle_predictor, network_predictor
from perception_training.models import build

BUNDLE = 'segmenter'
PICTURES = 3
LEAST_RISE = 0.05
"""Of mIoU, over the untrained network's."""
_BAR = 40


@dataclass(frozen=True)
class Look:
    """How far training is."""

    step: int
    minutes: float
    loss: float | None
    miou: float

    def __str__(self) -> str:
        loss = '     -' if self.loss is None else f'{self.loss:6.3f}'
        bar = '█' * round(self.miou * _BAR)
        return f'{self.step:6d} {self.minutes:5.1f}  {loss}  {self.miou:.3f}  {bar}'


def demo(config: Config, output: Path, command: list[str], console: Console) -> list[Look]:
    """
    Train a segmenter from nothing in `output/run`, and deliver it into `output`.

    :param config: of one semantic head; what `output` holds of an earlier demo is replaced.
    :returns: what was seen of the training, the untrained network first.
    :raises TrainingError: mIoU did not rise or the loss did not fall, or the bundle does not
        answer as the checkpoint does.
    """
    (head, names), = config.labels.semantic.items()
    config = config.model_copy(update={'run_dir': output / 'run'})
    for old in (config.run_dir, output / BUNDLE):
        shutil.rmtree(old, ignore_errors=True)
    start_record(config, command)
    looks: list[Look] = []

    def look(trained: Trained) -> Metrics:
        metrics = evaluate(config, network_predictor(trained.network, config))
        loss = None
        if trained.step:
            loss = [e['loss'] for e in read_numbers(config.run_dir) if 'loss' in e][-1]
        looks.append(Look(trained.step, trained.seconds / 60, loss,
                          next(iter(metrics.values()))[head]['miou']))
        console.print(str(looks[-1]), highlight=False)
        return metrics

    console.print(f'{len(names)} classes: {", ".join(names)}; {config.augment.width}x'
                  f'{config.augment.height} px, batches of {config.fit.batch}, at most '
                  f'{config.fit.max_minutes} min. All settings: {config.run_dir}/config.yaml\n\n'
                  '  step   min    loss   mIoU', highlight=False)
    look(Trained(build(config.model, config.labels, seed=config.seed), 0, 0.0))
    fit(config, evaluate=look, console=Console(quiet=True))
    require_progress(looks)
    console.print(f'\nexport and proof against the checkpoint -> {output / BUNDLE}')
    bundle = make_bundle(config, output / BUNDLE)
    pictures, each_ms = _run(config, bundle, head, output)
    console.print(f'the bundle in ONNX Runtime: {each_ms:.1f} ms an image -> '
                  + ', '.join(p.name for p in pictures), highlight=False)
    _report(config, bundle, looks, pictures, each_ms, output)
    return looks


def require_progress(looks: list[Look]) -> None:
    """
    Require that the loss fell and mIoU rose.

    :raises TrainingError: they did not.
    """
    first, last = looks[0], looks[-1]
    if last.miou < first.miou + LEAST_RISE:
        raise TrainingError(f'expected mIoU to rise by {LEAST_RISE} at least, got '
                            + ', '.join(f'{each.miou:.3f}' for each in looks))
    losses = [each.loss for each in looks if each.loss is not None]
    if losses[-1] > losses[0]:
        raise TrainingError('expected the loss to fall, got '
                            + ', '.join(f'{loss:.3f}' for loss in losses))


def _run(config: Config, bundle: Bundle, head: str, output: Path) -> tuple[list[Path], float]:
    """Draw what the bundle says of some validation images; give its time for one, too."""
    source = open_source(config.data.val[0], config.labels, config.data.root)
    info = bundle.manifest.semantic[head]
    names = tuple(item.name for item in info.classes)
    paths, spent = [], 0.0
    with bundle_predictor(bundle.path) as predict:
        predict(source[0].image)  # the first one plans
        for number in range(PICTURES):
            sample = source[number * (len(source) - 1) // max(PICTURES - 1, 1)]
            start = time.perf_counter()
            guess = predict(sample.image)
            spent += time.perf_counter() - start
            paths.append(output / f'{number}_{sample.name}.jpg')
            write_jpeg(paths[-1], beside(
                sample.image, {'labels': sample.semantic[head],
                               'the bundle, in ONNX Runtime': guess.semantic[head]},
                names, [item.color for item in info.classes]))
    return paths, spent / PICTURES * 1000


def _report(config: Config, bundle: Bundle, looks: list[Look], pictures: list[Path],
            each_ms: float, output: Path) -> None:
    """Write `report.md`: what was seen, and what came out."""
    measured = json.loads((config.run_dir / 'bundle_metrics.json').read_text(encoding='utf-8'))
    sets = {name: numbers for name, numbers in measured.items() if isinstance(numbers, dict)}
    lines = ['# Training demo', '', bundle.manifest.description, '',
             '| step | minutes | loss | mIoU |', '|---|---|---|---|']
    lines += [f'| {e.step} | {e.minutes:.1f} | {"-" if e.loss is None else f"{e.loss:.3f}"} | '
              f'{e.miou:.3f} |' for e in looks]
    lines += ['', f'The bundle in [`{BUNDLE}`]({BUNDLE}/CARD.md) has '
              f'{bundle.graph_path.stat().st_size / 1e6:.1f} MB, agrees with the checkpoint (its '
              f'card says how closely), and takes {each_ms:.1f} ms an image in ONNX Runtime here. '
              'Measured itself:', '', '```json', json.dumps(sets, indent=2), '```', '']
    lines += [f'![{path.stem}]({path.name})' for path in pictures]
    (output / 'report.md').write_text('\n'.join(lines) + '\n', encoding='utf-8')
