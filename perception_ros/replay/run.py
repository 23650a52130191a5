"""A bag through the pipeline: `play` is the whole of it, `Replay` what it is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perception_ros import __version__
from perception_ros.backends.configured import ignore_masks, open_model
from perception_ros.bags.bag import Bag, Message, open_bag
from perception_ros.bags.writer import BagWriter
from perception_ros.bundles.bundle import Bundle
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.config import PerceptionConfig
from perception_ros.core.errors import BagError, ConfigError, ReplayError
from perception_ros.core.model import Model
from perception_ros.core.offline import OfflinePipeline
from perception_ros.core.types import Frame, Result
from perception_ros.faults.inject import Injector, Record
from perception_ros.faults.plan import FaultPlan
from perception_ros.replay.inputs import choose_cameras, read_inputs, Refused
from perception_ros.replay.journal import Journal
from perception_ros.replay.parts import PART_MESSAGES, RunFolder, Span, undone
from perception_ros.replay.results import join_bags, ResultBag, ResultTopics
from perception_ros.replay.tables import join, SCHEMAS, write_rows

RESULTS = 'results.mcap'

Tell = Callable[[float], None]
"""Is told which share of the bag, 0..1, is done."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What is replayed, and where to."""

    bag: Path
    output: Path
    config: PerceptionConfig
    start_s: float | None = None
    """Seconds after the first message of the bag,"""
    end_s: float | None = None
    """and those before which it ends; None: all."""
    cameras: tuple[str, ...] = ()
    """Of the configuration; all if empty."""
    has_results: bool = True
    """Whether detections, masks and overlays are written as messages."""
    faults: FaultPlan | None = None
    """What goes wrong on purpose."""
    resume: bool = False
    overwrite: bool = False
    part_messages: int = PART_MESSAGES
    """Images that a part takes."""

    def __post_init__(self) -> None:
        """Raise ReplayError for what cannot be replayed."""
        if self.end_s is not None and self.end_s <= (self.start_s or 0.0):
            raise ReplayError(
                f'expected an end after the start of {self.start_s or 0:g} s, got {self.end_s:g} s'
            )
        if self.output.resolve() in (self.bag.resolve(), *self.bag.resolve().parents):
            raise ReplayError(
                f'the bag {self.bag} lies in the output {self.output}, which --overwrite would '
                'remove: name another place'
            )
        if self.config.synchronizer.policy == 'message_filters':
            raise ConfigError(
                'synchronizer.policy message_filters needs a ROS distribution, and follows the '
                "machine's clock: replay with deadline, approximate or exact"
            )


def play(options: ReplayOptions, tell: Tell = lambda share: None) -> None:
    """Play a bag through the pipeline, and write tables and results into the output folder.

    The same bag, bundles and configuration give the same tables where the runtime gives the same
    numbers, as ONNX Runtime does on a CPU, and however often the run was cut off and resumed.

    :raises PerceptionError: something cannot be read, opened or written.
    """
    with open_replay(options, tell) as replay:
        for span in replay.begin():
            replay.go(span)
        replay.join()


@contextmanager
def open_replay(options: ReplayOptions, tell: Tell = lambda share: None) -> Iterator[Replay]:
    """Open the bag and see what is to be done with it.

    :raises PerceptionError: something cannot be read.
    """
    with open_bag(options.bag) as bag:
        yield Replay(options, bag, tell)


class Replay:
    """One replay, or a share of it: several processes may each go through spans of it."""

    def __init__(self, options: ReplayOptions, bag: Bag, tell: Tell) -> None:
        self._options = options
        self._bag = bag
        self._tell = tell
        self._config, self._topics = choose_cameras(
            bag, engines_first(options.config), options.cameras
        )
        self._faults = injector(options.faults, bag, self._config, self._topics)
        self._bundles = {
            name: Bundle.load(model.bundle or name) for name, model in self._config.models.items()
        }
        self._manifests = {name: bundle.manifest for name, bundle in self._bundles.items()}
        self._folder = RunFolder(options.output)
        self._taken = 0
        self._journal = Journal()
        self._results: ResultBag | None = None
        self._broken: BagError | None = None

    @property
    def expected_parts(self) -> int:
        """How many there will be, if the bag is what its index says and nothing is left out."""
        images = sum(self._bag.topics[topic].count for topic in {*self._topics.values()})
        return images // self._options.part_messages + 1

    def begin(self) -> list[Span]:
        """Make the folder ready; return what is to be gone through.

        :raises ReplayError: something else lies there.
        """
        about = about_run(self._options, self._bag, self._config, self._topics, self._bundles)
        self._folder.begin(
            about, resume=self._options.resume, overwrite=self._options.overwrite
        )
        return [] if self._folder.is_finished else undone(self._folder.parts())

    def go(self, span: Span) -> None:
        """Rehearse the parts before a span, and do those in it.

        The rehearsal matches and schedules everything and infers nothing, so that what follows
        finds all as one run through the whole would have.

        :raises PerceptionError: something cannot be opened or written.
        """
        self._taken, self._journal = 0, Journal()
        with ExitStack() as stack:
            models = self._open_models(stack)
            pipeline = OfflinePipeline(
                self._config, models, self._publish, wanted=lambda c, m: self._wanted(models[m]),
                statistics=self._journal,
            )
            messages = read_inputs(
                messages_of(
                    self._options, self._bag, self._faults, self._topics.values(),
                    self._journal.touched,
                ),
                self._config, self._topics,
            )
            if not self._rehearse(pipeline, messages, span.first):
                return
            index, is_last = span.first, False
            while not is_last and index != span.end:
                with self._part() as part:
                    is_last = not self._play(pipeline, messages)
                    if is_last:
                        pipeline.finish()
                        if not self._taken:
                            self._bag.note('there is no image of these cameras in this time')
                    pipeline.settle()
                    self._flush()
                    for name, rows in self._journal.take().items():
                        write_rows(part / f'{name}.parquet', name, rows)
                self._folder.add_part(
                    part, index, is_last=is_last, problems=list(self._bag.problems)
                )
                index += 1

    def join(self) -> None:
        """Make one of the parts, which are all done."""
        if not self._folder.is_finished:
            join_parts(
                self._folder, self._config, self._manifests,
                has_results=self._options.has_results,
            )

    def _rehearse(
        self, pipeline: OfflinePipeline, messages: Iterator[tuple[int, Frame | Refused]],
        parts: int,
    ) -> bool:
        """Go through the first parts; return whether the bag has as many and more to come."""
        pipeline.is_rehearsal = True
        is_there = all(self._play(pipeline, messages) for _ in range(parts))
        self._journal.take()
        pipeline.is_rehearsal = False
        return is_there

    def _open_models(self, stack: ExitStack) -> dict[str, Model]:
        models, ignore = {}, ignore_masks(self._config)
        for name in self._config.models:
            models[name] = open_model(name, self._config, ignore=ignore)
            stack.callback(models[name].engine.close)
        engines = {
            name: {
                'backend': model.engine.info.backend, 'device': model.engine.info.device,
                'precision': model.engine.info.precision,
                'max_batch': model.engine.info.max_batch,
            }
            for name, model in models.items()
        }
        if (agreed := self._folder.agree(engines)) != engines:
            raise ReplayError(
                f'{self._folder.path} cannot be gone on with: it was run on {agreed}, here are '
                f'{engines}. Begin anew with --overwrite'
            )
        return models

    def _play(
        self, pipeline: OfflinePipeline, messages: Iterator[tuple[int, Frame | Refused]]
    ) -> bool:
        """Take as many messages as belong to a part; return whether there may be more."""
        for _ in range(self._options.part_messages):
            if (item := next(messages, None)) is None:
                return False
            self._take(pipeline, item)
            if self._broken:
                raise self._broken
        return True

    def _take(self, pipeline: OfflinePipeline, item: tuple[int, Frame | Refused]) -> None:
        time_ns, came = item
        if isinstance(came, Refused):
            pipeline.refuse(came.camera, came.error, came.stamp_ns)
        else:
            pipeline.receive(came)
        self._taken += 1
        start_s, end_s = self._options.start_s or 0.0, self._options.end_s
        if end_s is None:
            end_s = (self._bag.end_ns - self._bag.start_ns) / 1e9
        done_s = (time_ns - self._bag.start_ns) / 1e9 - start_s
        self._tell(min(max(done_s / max(end_s - start_s, 1e-9), 0.0), 1.0))

    @contextmanager
    def _part(self) -> Iterator[Path]:
        """Give the folder of a new part, with its bag of results open."""
        part = self._folder.new_part()
        if not self._options.has_results:
            yield part
            return
        with BagWriter(part / RESULTS) as writer:
            self._results = ResultBag(writer, self._config, self._manifests)
            yield part

    def _flush(self) -> None:
        if self._results:
            self._results.flush()
        if self._broken:
            raise self._broken

    def _publish(self, result: Result) -> None:
        if self._results is None:
            return
        try:
            self._results.write(result)
        except BagError as error:  # a full disk is no fault of the frame
            self._broken = error

    def _wanted(self, model: Model) -> frozenset[str]:
        if self._options.has_results:
            return model.outputs
        return model.outputs & {'detections'} or model.outputs


def messages_of(
    options: ReplayOptions,
    bag: Bag,
    faults: Injector | None,
    topics: Iterable[str],
    touched: Record,
) -> Iterator[Message]:
    """Return the messages of the span that is replayed, with their faults."""
    start_ns, end_ns = (
        None if second is None else bag.start_ns + round(second * 1e9)
        for second in (options.start_s, options.end_s)
    )
    if faults is None:
        return bag.messages({*topics}, start_ns, end_ns)
    return faults.messages({*topics} | faults.topics, start_ns, end_ns, touched)


def engines_first(config: PerceptionConfig) -> PerceptionConfig:
    """Return the configuration with engines that are built before the first frame comes."""
    models = {
        name: model.model_copy(update={'build': 'wait'}) for name, model in config.models.items()
    }
    return config.model_copy(update={'models': models})


def injector(
    plan: FaultPlan | None, bag: Bag, config: PerceptionConfig, topics: Mapping[str, str]
) -> Injector | None:
    """Return what lets the faults of a plan loose on a bag; None where there are none."""
    if plan is None:
        return None
    return Injector(plan, bag, {topic: name for name, topic in topics.items()}, config.cameras)


def about_run(
    options: ReplayOptions,
    bag: Bag,
    config: PerceptionConfig,
    topics: Mapping[str, str],
    bundles: Mapping[str, Bundle],
    realtime: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what decides about the results, ready for JSON.

    :param realtime: how it is played in real time, if it is.
    """
    return {
        'bag': {
            'name': bag.path.name,
            'files': {path.name: path.stat().st_size for path in bag.files},
            'start_ns': bag.start_ns,
            'end_ns': bag.end_ns,
            'messages': sum(topic.count for topic in bag.topics.values()),
        },
        'start_s': options.start_s,
        'end_s': options.end_s,
        'cameras': dict(topics),
        'bundles': {
            name: {'name': bundle.manifest.name, 'sha256': bundle.manifest.graph.sha256}
            for name, bundle in bundles.items()
        },
        'has_results': options.has_results,
        'faults': options.faults and options.faults.model_dump(mode='json')['faults'],
        'part_messages': options.part_messages,
        'config': config.model_dump(mode='json'),
        'realtime': realtime,
        'perception_ros': __version__,
    }


def join_parts(
    folder: RunFolder,
    config: PerceptionConfig,
    manifests: Mapping[str, Manifest],
    *,
    has_results: bool,
) -> None:
    """Make one of the parts: the tables, and the bag of results.

    :raises ReplayError: some have not been done.
    """
    parts, new = folder.parts(), folder.new_part()
    if left := undone(parts):
        raise ReplayError(
            f'{folder.path}: the parts {left[0].first}.. have not been done; go on with --resume'
        )
    for table in SCHEMAS:
        name = f'{table}.parquet'
        join((part.folder / name for part in parts.values()), table, new / name)
        with folder.writing():
            (new / name).replace(folder.path / name)
    if has_results:
        topics = ResultTopics(config, manifests)
        join_bags((part.folder / RESULTS for part in parts.values()), topics, new / RESULTS)
        with folder.writing():
            (new / RESULTS).replace(folder.path / RESULTS)
    problems = dict.fromkeys(problem for part in parts.values() for problem in part.problems)
    about = folder.read_about()
    if engines := folder.agreed():
        about['engines'] = engines
    folder.write_about({**about, 'problems': list(problems)})
    folder.end()
