"""A bag through the pipeline: `play` is the whole of it, `Replay` what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, ExitStack
from pathlib import Path

from perception_ros.backends.configured import ignore_masks, open_model
from perception_ros.bags.bag import Bag, open_bag
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import BagError, ReplayError
from perception_ros.core.model import Model
from perception_ros.core.offline import OfflinePipeline
from perception_ros.core.types import Frame, Result
from perception_ros.replay.inputs import read_inputs, Refused
from perception_ros.replay.job import Job, Tell
from perception_ros.replay.journal import Journal
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.parts import Span, undone
from perception_ros.replay.results import ResultBag, RESULTS
from perception_ros.replay.tables import write_tables


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
        self._job = Job(options, bag)
        self._tell = tell
        self._taken = 0
        self._journal = Journal()
        self._results: ResultBag | None = None
        self._broken: BagError | None = None

    @property
    def expected_parts(self) -> int:
        """How many there will be, if the bag is what its index says and nothing is left out."""
        job = self._job
        images = sum(job.bag.topics[topic].count for topic in {*job.topics.values()})
        return images // job.options.part_messages + 1

    def begin(self) -> list[Span]:
        """Make the folder ready; return what is to be gone through.

        :raises ReplayError: something else lies there.
        """
        self._job.begin()
        folder = self._job.folder
        return [] if folder.is_finished else undone(folder.parts())

    def go(self, span: Span) -> None:
        """Rehearse the parts before a span, and do those in it.

        The rehearsal matches and schedules everything and infers nothing, so that what follows
        finds all as one run through the whole would have.

        :raises PerceptionError: something cannot be opened or written.
        """
        job = self._job
        self._taken, self._journal = 0, Journal()
        with ExitStack() as stack:
            pipeline = OfflinePipeline(
                job.config, self._open_models(stack), self._publish,
                wanted=lambda camera, model: job.outputs(model), statistics=self._journal,
            )
            messages = read_inputs(
                job.messages(job.topics.values(), self._journal.touched), job.config, job.topics
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
                            job.bag.note('there is no image of these cameras in this time')
                    pipeline.settle()
                    self._flush()
                    write_tables(part, self._journal.take())
                job.folder.add_part(part, index, is_last=is_last, problems=list(job.bag.problems))
                index += 1

    def join(self) -> None:
        """Make one of the parts, which are all done."""
        self._job.join()

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
        config, folder = self._job.config, self._job.folder
        models, ignore = {}, ignore_masks(config)
        for name in config.models:
            models[name] = open_model(name, config, ignore=ignore)
            stack.callback(models[name].engine.close)
        engines = {
            name: {
                'backend': model.engine.info.backend, 'device': model.engine.info.device,
                'precision': model.engine.info.precision,
                'max_batch': model.engine.info.max_batch,
            }
            for name, model in models.items()
        }
        if (agreed := folder.agree(engines)) != engines:
            raise ReplayError(
                f'{folder.path} cannot be gone on with: it was run on {agreed}, here are '
                f'{engines}. Begin anew with --overwrite'
            )
        return models

    def _play(
        self, pipeline: OfflinePipeline, messages: Iterator[tuple[int, Frame | Refused]]
    ) -> bool:
        """Take as many messages as belong to a part; return whether there may be more."""
        for _ in range(self._job.options.part_messages):
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
        self._tell(self._job.share(time_ns))

    @contextmanager
    def _part(self) -> Iterator[Path]:
        """Give the folder of a new part, with its bag of results open."""
        part = self._job.folder.new_part()
        if not self._job.options.has_results:
            yield part
            return
        with BagWriter(part / RESULTS) as writer:
            self._results = ResultBag(writer, self._job.config, self._job.manifests)
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
