"""The whole way in a few minutes: train, watch, export, prove, and run what came out."""

from collections.abc import Callable
from dataclasses import dataclass
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
from perception_training.fitting.loop import fit, Look
from perception_training.fitting.record import start_record
from perception_training.fitting.run import Trained
from perception_training.measuring.predict import bundle_predictor
from perception_training.models import build
from perception_training.reporting.page import write_report

BUNDLE, REPORT = 'segmenter', 'report.html'
PICTURES = 3
LEAST_RISE = 0.05
"""Of mIoU, over the untrained network's."""
_BAR = 40


@dataclass(frozen=True)
class Seen:
    """How far training is."""

    step: int
    minutes: float
    loss: float | None
    miou: float

    def __str__(self) -> str:
        loss = '     -' if self.loss is None else f'{self.loss:6.3f}'
        bar = '█' * round(self.miou * _BAR)
        return f'{self.step:6d} {self.minutes:5.1f}  {loss}  {self.miou:.3f}  {bar}'


def demo(config: Config, output: Path, command: list[str], measure: Callable[[Trained], Look],
         console: Console) -> list[Seen]:
    """
    Train a segmenter from nothing in `output/run`, and deliver it into `output`.

    :param config: of one semantic head and with `run_dir` in `output`; what these hold of an
        earlier demo is replaced.
    :param measure: what `fit` calls to look at a network.
    :returns: what was seen of the training, the untrained network first.
    :raises TrainingError: mIoU did not rise or the loss did not fall, or the bundle does not
        answer as the checkpoint does.
    """
    (head, names), = config.labels.semantic.items()
    for old in (config.run_dir, output / BUNDLE):
        shutil.rmtree(old, ignore_errors=True)
    start_record(config, command)
    seen: list[Seen] = []

    def say(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    def look(trained: Trained) -> Look:
        found = measure(trained)
        losses = [e['loss'] for e in read_numbers(config.run_dir) if 'loss' in e] \
            if trained.step else [None]
        seen.append(Seen(trained.step, trained.seconds / 60, losses[-1], found.overall))
        say(str(seen[-1]))
        return found

    fitting, view = config.fit, config.augment
    say(f'{len(names)} classes: {", ".join(names)}')
    say(f'{fitting.steps} steps with {fitting.batch} images of {view.width}x{view.height} px, at '
        f'most {fitting.max_minutes} min; all settings: {config.run_dir}/config.yaml\n')
    say('  step   min    loss   mIoU')
    look(Trained(build(config.model, config.labels, seed=config.seed).eval(), 0, 0.0))
    fit(config, evaluate=look, console=Console(quiet=True))
    require_progress(seen)
    say(f'\nexport, and proof against the checkpoint: {output / BUNDLE}')
    bundle = make_bundle(config, output / BUNDLE)
    each_ms = run_bundle(config, bundle, head, output)
    say(f'{PICTURES} pictures of what the bundle says in ONNX Runtime, {each_ms:.0f} ms each: '
        f'{output}')
    write_report([config.run_dir], output / REPORT)
    say(f'the report: {output / REPORT}')
    return seen


def require_progress(seen: list[Seen]) -> None:
    """
    Require that the loss fell and mIoU rose.

    :raises TrainingError: they did not.
    """
    if seen[-1].miou < seen[0].miou + LEAST_RISE:
        raise TrainingError(f'expected mIoU to rise by {LEAST_RISE} at least, got '
                            + ', '.join(f'{each.miou:.3f}' for each in seen))
    losses = [each.loss for each in seen if each.loss is not None]
    if losses[-1] > losses[0]:
        raise TrainingError('expected the loss to fall, got '
                            + ', '.join(f'{loss:.3f}' for loss in losses))


def run_bundle(config: Config, bundle: Bundle, head: str, output: Path) -> float:
    """Draw what a bundle says of some validation images; return the ms that it took for one."""
    source = open_source(config.data.val[0], config.labels, config.data.root)
    info = bundle.manifest.semantic[head]
    names = tuple(item.name for item in info.classes)
    spent = 0.0
    with bundle_predictor(bundle.path) as predict:
        predict(source[0].image)  # the first one plans
        for number in range(PICTURES):
            sample = source[number * (len(source) - 1) // (PICTURES - 1)]
            start = time.perf_counter()
            guess = predict(sample.image)
            spent += time.perf_counter() - start
            write_jpeg(output / f'picture_{number}.jpg', beside(
                sample.image, {'labels': sample.semantic[head],
                               'the bundle, in ONNX Runtime': guess.semantic[head]},
                names, [item.color for item in info.classes]))
    return spent / PICTURES * 1000
