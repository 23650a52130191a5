"""`prune`, `quantise` and `distil`: change a network, train it on, compare, record."""

from collections.abc import Callable, Sequence
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from perception_ros.bundles import Bundle
from perception_ros.core.letterbox import Letterbox
from perception_training.compressing.compare import figures, record, require_validation, show
from perception_training.compressing.pruning import kept_share, prune
from perception_training.config import Config
from perception_training.config.compress import TuneConfig
from perception_training.config.fit import StartConfig
from perception_training.data.readers import read_source
from perception_training.data.sample import Batch
from perception_training.data.stream import Stream
from perception_training.delivering.bundle import make_draft
from perception_training.delivering.int8 import in_int8, Rounding
from perception_training.errors import TrainingError
from perception_training.fitting import checkpoint
from perception_training.fitting.loop import Evaluate, fit, is_first_process, LAST, restored
from perception_training.fitting.record import read_record, start_record
from perception_training.fitting.transfer import built, take_over
from perception_training.models import build, Network
from perception_training.models.form import Form
from perception_training.models.int8 import round_to_int8
from perception_training.reporting.compression import Compression

START = 'start.pt'
"""The changed network before it is trained on, beside the checkpoints of that training."""
Evaluating = Callable[[Config], Evaluate]


def prune_run(config: Config, command: Sequence[str], evaluate: Evaluating) -> Config:
    """
    Prune the network of a run and train it on, in `run_dir/prune`.

    :returns: the settings of the run that holds the smaller network.
    :raises TrainingError: it cannot be pruned, or is not there.
    """
    require_validation(config)
    origin, ours = _origin(config), _run_below(config, 'prune', config.prune.tune)

    def change() -> Network:
        network = _network(origin, config)
        batches = _batches(config) if config.prune.importance == 'taylor' else []
        smaller = prune(_network(origin, config), config, batches)
        print(f'{kept_share(network, smaller):.1%} of the channels are left')
        return smaller

    _train(ours, origin, command, evaluate, change)
    if is_first_process():
        drafts = [_draft(ours, _network(origin, config), 'before'),
                  _draft(ours, restored(ours).network, 'after')]
        before, after = figures(drafts, config)
        name = (f'{config.prune.share:.0%} of the channels, {config.prune.scope}, by '
                f'{config.prune.importance}')
        _say(config, [Compression(name=name, kind='prune', before=before, after=after)])
    return ours


def quantise_run(config: Config, command: Sequence[str], evaluate: Evaluating) -> Config:
    """
    Train the network of a run on while it rounds as int8 does, in `run_dir/quantise`.

    Ranges start from post-training calibration; what that alone gives is recorded too.

    :returns: the settings of the run that holds the rounding network.
    :raises PerceptionError: it cannot be put into int8, or is not there.
    """
    require_validation(config)
    held = () if config.quantise.learn_ranges else ('*.log_limit',)
    origin, ours = _origin(config), _run_below(config, 'quantise', config.quantise.tune, held)

    def change() -> Network:
        network = _network(origin, config)
        if network.form.int8:
            raise TrainingError(f'{origin}: expected an fp32 network, got one that rounds to int8 '
                                'already; `fit` trains it on')
        exact = _draft(ours, network, 'before')
        rounding = Rounding(exact, network)
        limits = rounding.measured(_calibration(config))
        in_int8(exact, rounding, limits, 'after_training')
        _round(network, rounding, limits)
        return network

    _train(ours, origin, command, evaluate, change)
    if is_first_process():
        bundles = ours.run_dir / 'bundle'
        after = _draft(ours, restored(ours).network, 'after')
        exact, plain, learnt = figures(
            [Bundle.load(bundles / 'before'), Bundle.load(bundles / 'after_training'), after],
            config)
        _say(config, [
            Compression(name='int8 after training', kind='quantise', before=exact, after=plain),
            Compression(name='int8 in training', kind='quantise', before=exact, after=learnt)])
    return ours


def distil_run(config: Config, command: Sequence[str], evaluate: Evaluating) -> None:
    """
    Train as `fit` does, with a teacher, and compare the two.

    :raises TrainingError: there is no teacher, or it does not fit.
    """
    if config.distil is None:
        raise TrainingError('distil: expected a section distil with a teacher in the settings, '
                            'such as distil.teacher=training/runs/large/last.pt')
    require_validation(config)
    fit(config, evaluate=evaluate(config), prepare=lambda: start_record(config, command))
    if is_first_process():
        teacher = _teacher(config)
        after = _draft(config, restored(config).network, 'student')
        before, student = figures([teacher, after], config)
        name = f'{teacher.manifest.name} as the teacher'
        _say(config, [Compression(name=name, kind='distil', before=before, after=student)])


def write_start(config: Config, network: Network, origin: str = '') -> None:
    """
    Keep a changed network where the run that trains it on begins.

    :param origin: digest of the checkpoint that it was changed from.
    """
    start = config.fit.start.checkpoint
    assert start is not None
    checkpoint.write(start, {
        'average': network.state_dict(), 'form': network.form.model_dump_json(),
        'origin': origin}, config)


def _origin(config: Config) -> Path:
    return config.fit.start.checkpoint or config.run_dir / LAST


def _network(path: Path, config: Config) -> Network:
    state, theirs = checkpoint.read(path)
    checkpoint.require_same_network(path, theirs, config)
    return built(path, state, config)


def _run_below(config: Config, name: str, tune: TuneConfig,
               held: tuple[str, ...] = ()) -> Config:
    """
    Give the settings of the run that trains the changed network on.

    :param held: patterns of parameters that it does not learn.
    """
    run_dir = config.run_dir / name
    fitting = config.fit.model_copy(update={
        'steps': tune.steps, 'max_minutes': tune.max_minutes,
        'optimiser': config.fit.optimiser.model_copy(
            update={'lr': tune.lr, 'lr_pretrained': None}),
        'schedule': config.fit.schedule.model_copy(update={'warmup': tune.warmup}),
        'start': StartConfig(checkpoint=run_dir / START, freeze=held)})
    distil = config.distil
    if distil is not None and distil.teacher == 'start':
        # What is not to be forgotten is the network as it was before the change.
        distil = distil.model_copy(update={'teacher': _origin(config)})
    return config.model_copy(update={'run_dir': run_dir, 'fit': fitting, 'distil': distil})


def _train(config: Config, origin: Path, command: Sequence[str], evaluate: Evaluating,
           change: Callable[[], Network]) -> None:
    """Change the network, unless a run that was interrupted did so, and train it on."""
    def prepare() -> None:
        start_record(config, command)
        start = config.run_dir / START
        if not start.exists():
            write_start(config, change(), _digest(origin))
        else:
            _require_same_change(start, origin, config)

    fit(config, evaluate=evaluate(config), prepare=prepare)


def _require_same_change(start: Path, origin: Path, config: Config) -> None:
    state, theirs = checkpoint.read(start)
    name, advice = config.run_dir.name, f'remove {start.parent}, or set another run_dir'
    came, wanted = (getattr(c, name).model_copy(update={'tune': TuneConfig()})
                    for c in (theirs, config))
    if came != wanted:
        raise TrainingError(
            f'{start}: expected a network that was changed with {name}: {wanted!r}, got one with '
            f'{came!r}; {advice}')
    if origin.is_file() and state.get('origin') != _digest(origin):
        # What is compared at the end would not be what the change began with.
        raise TrainingError(f'{start}: expected a network that was made of {origin}, which has '
                            f'changed since; {advice}')


def _digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()


def _round(network: Network, rounding: Rounding, limits: dict[str, float]) -> None:
    of_layers = rounding.by_layer(limits)
    inputs = rounding.inputs
    form = Form(widths=network.form.widths, int8=inputs)
    round_to_int8(network, inputs, [max(of_layers[n] for n in names) for names in inputs])
    network.form = form


def _draft(config: Config, network: Network, name: str) -> Bundle:
    return make_draft(config, network, read_record(config.run_dir), name)[0]


def _batches(config: Config) -> list[Batch]:
    sources = [read_source(s, config.labels, config.data.root) for s in config.data.train]
    stream = Stream(sources, config)
    return [stream[i] for i in range(config.prune.batches)]


def _calibration(config: Config) -> list[NDArray[np.uint8]]:
    """Give images of all training sets in turns, spread over each, letterboxed."""
    sources = [read_source(s, config.labels, config.data.root) for s in config.data.train]
    share = -(-config.quantise.images // len(sources))
    canvases = []
    for source in sources:
        count = min(share, len(source))
        for number in range(count):
            image = source[number * len(source) // count].image
            canvas = np.empty((config.height, config.width, 3), np.uint8)
            Letterbox.fit((image.shape[1], image.shape[0]),
                          (config.width, config.height)).write(image, None, canvas)
            canvases.append(canvas)
    return canvases


def _teacher(config: Config) -> Bundle:
    """Give the teacher as a bundle, at the run's own input size."""
    assert config.distil is not None
    path, start = config.distil.teacher, config.fit.start.checkpoint
    if path == 'start':
        network = build(config.model, config.labels, config.data.root, config.seed)
        if start is not None:
            take_over(network, start, config.fit.start.blend)
    elif path.is_dir():
        return Bundle.load(path)
    else:
        state, theirs = checkpoint.read(path)
        network = built(path, state, theirs)
    return _draft(config, network, 'teacher')


def _say(config: Config, entries: Sequence[Compression]) -> None:
    record(config.run_dir, entries)
    show(entries)

