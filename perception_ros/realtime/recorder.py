"""What comes of a run in real time, written part by part into the folder of a replay."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Self

from perception_ros.bags.messages import IMAGE
from perception_ros.bags.writer import BagWriter
from perception_ros.core.config import OverlayConfig
from perception_ros.core.image import Image
from perception_ros.core.types import Detections, Frame, Result
from perception_ros.realtime.listener import Heard
from perception_ros.replay.job import Job
from perception_ros.replay.journal import Journal
from perception_ros.replay.parts import PART_MESSAGES
from perception_ros.replay.results import ResultBag, RESULTS, ResultTopics
from perception_ros.replay.tables import write_tables
from perception_ros.ros.cdr import write_stamp


class Recorder:
    """Keeps the rows of a journal, and results as messages under the stamps of the bag.

    A context manager, which throws away a part that was not ended. Overlays are not among them:
    they would be drawn by the node, whose time is being measured.
    """

    def __init__(self, job: Job, journal: Journal) -> None:
        self._job = job
        self._journal = journal
        # nothing to draw on: the pictures stay where they are
        self._config = job.config.model_copy(update={'overlay': OverlayConfig(enabled=False)})
        self._topics = ResultTopics(job.config, job.manifests)
        self._parts = 0
        self._settled = 0
        self._begin()

    def write_detections(self, heard: Heard, stamp_ns: int, found: Detections) -> None:
        """Write boxes, and what Foxglove draws of them, under the stamp of the bag."""
        if self._results:
            nothing = Image(b'', '', 0, 0, 0)
            frame = Frame(heard.camera, stamp_ns, stamp_ns, nothing, heard.frame_id)
            self._results.write(Result(frame, heard.model, found))

    def write_mask(self, heard: Heard, stamp_ns: int) -> None:
        """Write a mask as it came, under the stamp of the bag."""
        if self._writer:
            topic = self._topics.of(heard.camera, heard.model, heard.output)
            message = write_stamp(heard.message, IMAGE, stamp_ns)
            self._writer.write_cdr(topic, IMAGE, stamp_ns, message)

    def keep(self, settled: int, problems: list[str]) -> None:
        """End a part if enough frames are settled, and begin the next one."""
        if settled - self._settled >= PART_MESSAGES:
            self._settled = settled
            self._end(problems, is_last=False)
            self._begin()

    def finish(self, problems: list[str]) -> None:
        """End the last part."""
        self._end(problems, is_last=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer:  # a part that was not ended
            self._writer.__exit__(*exception)

    def _begin(self) -> None:
        self._part: Path = self._job.folder.new_part()
        self._writer: BagWriter | None = None
        self._results: ResultBag | None = None
        if self._job.options.has_results:
            self._writer = BagWriter(self._part / RESULTS)
            self._results = ResultBag(self._writer, self._config, self._job.manifests)

    def _end(self, problems: list[str], *, is_last: bool) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None
        write_tables(self._part, self._journal.take())
        self._job.folder.add_part(self._part, self._parts, is_last=is_last, problems=problems)
        self._parts += 1
