"""What is said of frames, by whom ever, entered into the ledger; what is settled is kept."""

from __future__ import annotations

from queue import Empty, SimpleQueue

from perception_ros.core.frame_log import FrameLogReader
from perception_ros.faults.inject import Touch
from perception_ros.realtime.ledger import Ledger, Publication
from perception_ros.realtime.listener import detections_of, Heard
from perception_ros.realtime.recorder import Recorder
from perception_ros.replay.job import Job
from perception_ros.replay.journal import Journal


class Account:
    """Takes the words of the player, of the node's frame log and of the listener.

    The player's words come first: an answer belongs to a frame that is known.

    :param has_log: whether the node writes a frame log.
    """

    def __init__(self, job: Job, *, has_log: bool) -> None:
        self.frame_log = job.folder.path / 'frames.jsonl'
        """Where the node is to say what becomes of each frame."""
        self.told: SimpleQueue[Publication | Touch] = SimpleQueue()
        """Where the player is to say, from its thread, what it does."""
        self._job = job
        self._journal = Journal()
        self._log = FrameLogReader(self.frame_log)
        models = {
            camera: frozenset(m for m in job.config.models if camera in job.config.cameras_of(m))
            for camera in job.config.cameras
        }
        outputs = {name: job.outputs(name) for name in job.manifests}
        self.ledger = Ledger(self._journal, models, outputs, has_log=has_log)
        self._recorder: Recorder | None = None

    def open(self) -> Recorder:
        """Begin to take answers; return what has to be closed, whatever happens.

        :raises PerceptionError: nothing can be written.
        """
        self._recorder = Recorder(self._job, self._journal)
        return self._recorder

    def hear(self, heard: Heard) -> None:
        """Take a message with a result."""
        if self._recorder is None:  # of a node that runs already, and has heard others
            return
        self._take_told()
        found = None
        bag_stamp_ns = self.ledger.bag_stamp_ns(heard.camera, heard.stamp_ns)
        if heard.output == 'detections':
            found = detections_of(heard.message, self._job.manifests[heard.model])
            self._recorder.write_detections(heard, bag_stamp_ns, found)
        else:
            self._recorder.write_mask(heard, bag_stamp_ns)
        self.ledger.hear(
            heard.camera, heard.stamp_ns, heard.model, heard.output, heard.received_ns, found
        )

    def update(self, give_up_ns: int) -> None:
        """Take what player and node have said, and keep what is settled.

        :param give_up_ns: nothing more is expected of what was published before this time.
        """
        self._take_said()
        self.ledger.give_up(give_up_ns)
        if self._recorder:
            self._recorder.keep(self.ledger.settled, list(self._job.bag.problems))

    def settle(self) -> None:
        """Take the last words; nothing more is expected of any frame."""
        self._take_said()
        self.ledger.give_up()

    def finish(self, problems: list[str]) -> None:
        """Keep what is left, and forget the log."""
        assert self._recorder is not None, 'it was opened'
        self._recorder.finish(problems)
        self.frame_log.unlink(missing_ok=True)

    def _take_said(self) -> None:
        self._take_told()
        for line in self._log.lines():
            self.ledger.read(line)

    def _take_told(self) -> None:
        while True:
            try:
                told = self.told.get_nowait()
            except Empty:
                return
            if isinstance(told, Publication):
                self.ledger.publish(told)
            else:
                self._journal.touched(told)
