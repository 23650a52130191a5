"""The same images through the checkpoint, the bundle and every engine that opens here."""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
import torch

from perception_ros.backends import BACKENDS, EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BackendError
from perception_ros.core.letterbox import Letterbox
from perception_training.config import Config
from perception_training.data.sample import Sample
from perception_training.delivering.proof import Agreement, with_image
from perception_training.errors import TrainingError
from perception_training.fitting.loop import LAST, restored
from perception_training.fitting.run import Trained
from perception_training.measuring.evaluate import evaluate_all, Metrics, metrics_of
from perception_training.measuring.predict import (
    engine_predictor,
    network_predictor,
    Prediction,
    Predictor,
)
from perception_training.measuring.records import Measured, write_evaluation
from perception_training.models import MASKS

CHECKPOINT, ALL = 'checkpoint', 'all'


@dataclass(frozen=True)
class Contender:
    """Something that answers, and what is to be said of it."""

    predict: Predictor
    measured: Measured


@dataclass(frozen=True)
class Row:
    """What one engine's answers are worth, and how far they lie from the first one's."""

    measured: Measured
    metrics: Metrics
    agreement: Agreement | None
    """None for the first engine."""


def measure_engines(config: Config, contenders: Mapping[str, Contender],
                    most: int | None = None) -> dict[str, Row]:
    """
    Measure all of them on the validation sets, compare them with the first, and record it.

    :param most: images of a set that are measured; None: all.
    """
    first, *others = contenders
    rows = {name: Agreement(1, 0) for name in others}

    def compare(sample: Sample, guesses: Mapping[str, Prediction]) -> None:
        # The proof counts pixels of the network's input.
        scale = max(Letterbox.fit(sample.size, (config.width, config.height)).scale)
        answers = {name: _outputs(guess) for name, guess in guesses.items()}
        for name in others:
            rows[name] = with_image(rows[name], answers[first], answers[name], sample.size, scale)

    predictors = {name: contender.predict for name, contender in contenders.items()}
    found = evaluate_all(config, predictors, most, compare if others else None)
    for name, contender in contenders.items():
        row = rows.get(name)
        agreement = row and {
            'with': first, 'ok': row.ok, 'mask': row.mask, **asdict(row)}
        write_evaluation(config, contender.measured, found[name], agreement,
                         pictures=name == first)
    return {name: Row(contender.measured, metrics_of(found[name]), rows.get(name))
            for name, contender in contenders.items()}


@contextlib.contextmanager
def opened(config: Config, path: Path | None, wanted: Sequence[str],
           checkpoint: str = LAST) -> Iterator[tuple[dict[str, Contender], dict[str, str]]]:
    """
    Open a checkpoint and engines by name; `all` is each that works here.

    :param path: the bundle that engines open.
    :param checkpoint: file in `run_dir`.
    :returns: what was opened, and why the rest of `all` was not.
    :raises TrainingError: an engine is asked for without a bundle.
    :raises BackendError: an engine that is asked for by name does not work here.
    """
    everything = ALL in wanted
    names = [CHECKPOINT, *(name for name, backend in BACKENDS.items() if backend.auto)] \
        if everything else list(dict.fromkeys(wanted))
    if path is None and names != [CHECKPOINT]:
        raise TrainingError('--backend: expected --bundle with the bundle that engines open, got '
                            'none; `perception_train export` makes one')
    found, absent = {}, {}
    with contextlib.ExitStack() as stack:
        for name in names:
            try:
                if name == CHECKPOINT:
                    found[name] = of_checkpoint(config, restored(config, checkpoint), checkpoint)
                elif path is not None:
                    found[name] = stack.enter_context(_engine(path, name))
            except (BackendError, TrainingError) as error:
                if not everything:
                    raise
                absent[name] = str(error)
        if not found:
            raise TrainingError('nothing could be opened: ' + '; '.join(absent.values()))
        yield found, absent


def of_checkpoint(config: Config, trained: Trained, file: str = LAST) -> Contender:
    """Let a trained network answer in torch."""
    network = trained.network
    count = sum(parameter.numel() for parameter in network.parameters())
    device = str(next(network.parameters()).device)
    return Contender(network_predictor(network, config), Measured(
        CHECKPOINT, f'torch {torch.__version__}', device,
        'int8' if network.form.int8 else 'fp32', file, round(count * 4e-6, 2),
        count, trained.step, round(trained.seconds / 60, 1)))


@contextlib.contextmanager
def _engine(path: Path, name: str) -> Iterator[Contender]:
    bundle = Bundle.load(path)
    with open_engine(bundle, name, EngineOptions(max_batch=1)) as engine:
        engine.warm_up()
        info, sha256 = engine.info, bundle.manifest.graph.sha256
        yield Contender(engine_predictor(bundle.manifest, engine), Measured(
            name, info.backend, info.device, info.precision,
            f'{bundle.manifest.name} {sha256[:12]}',
            round(bundle.graph_path.stat().st_size / 1e6, 2)))


def _outputs(guess: Prediction) -> dict[str, NDArray[Any]]:
    """Name answers as a bundle's outputs are."""
    found = {'boxes': guess.boxes, 'labels': guess.labels, 'scores': guess.scores,
             **{f'semantic_{head}': ids for head, ids in guess.semantic.items()}}
    return found if guess.masks is None else {**found, MASKS: guess.masks}
