"""The topic `health`: which cameras, models and fusion can be trusted now, and since when not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.node import Node

from perception_ros.core.topics import HEALTH
from perception_ros.core.trust import INACTIVE, Standing, Trust, TrustNews, TrustRecord, Verdict
from perception_ros.ros.messages import to_diagnostics
from perception_ros.ros.qos import make_qos
from perception_ros.ros.statuses import Status

PERIOD_S = 0.5
"""Between two messages when nothing changes: who hears none knows that the node is gone."""

TIMEOUT_S = 3.0
"""A subject that nobody has judged for so long is untrusted."""

LOGGED_AFTER_S = 3.0
"""What is bad for so long is written to the log: at a start much is not there yet."""

TRUST_QOS = make_qos('reliable', 1, 'transient_local')

LEVELS = {
    Trust.TRUSTED: DiagnosticStatus.OK,
    Trust.DEGRADED: DiagnosticStatus.WARN,
    Trust.UNTRUSTED: DiagnosticStatus.ERROR,
}
"""Of DiagnosticStatus, which is what a camera or a model has in /diagnostics too."""
_TRUSTS = {level: trust for trust, level in LEVELS.items()}


def verdict_of(status: Status) -> Verdict:
    """Return what a status of `/diagnostics` means for trust; good ones need no reason."""
    trust = _TRUSTS.get(status.level, Trust.UNTRUSTED)
    return Verdict(trust, '' if trust is Trust.TRUSTED else status.text)


class TrustPublisher:
    """Publishes the standing of each subject: on a change at once, else every `PERIOD_S`.

    What stays bad, and that it is good again, goes to the log as well: not everybody reads topics.
    Late subscribers get the last message. While the node is not active all are untrusted. Any
    thread may call any method.

    :param names: of the subjects, such as 'camera front', 'model roadscene' or 'fusion'.
    :param hold_s: how long a subject must have been good to be trusted.
    """

    def __init__(self, node: Node, names: Iterable[str], hold_s: float) -> None:
        self._node = node
        self._names = tuple(names)
        self._hold_ns = round(hold_s * 1e9)
        self._publisher = node.create_publisher(DiagnosticArray, HEALTH, TRUST_QOS)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._news = TrustNews(round(LOGGED_AFTER_S * 1e9))
        self._record = self._new_record()
        self.judge(dict.fromkeys(self._names, INACTIVE))
        self.publish()

    def start(self) -> None:
        """Begin to publish; what was known before does not count any more."""
        with self._lock:
            self._record = self._new_record()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._loop, name='trust', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Say that nothing can be trusted, and publish no more. Idempotent."""
        if self._thread:
            self._stopping.set()
            self._thread.join()
            self._thread = None
            self.judge(dict.fromkeys(self._names, INACTIVE))
            self.publish()

    def destroy(self) -> None:
        """Stop, and withdraw the topic."""
        self.stop()
        self._node.destroy_publisher(self._publisher)

    def judge(self, verdicts: Mapping[str, Verdict]) -> None:
        """Say how some subjects fare now; a change of level is published at once.

        Each subject wants a verdict at least every `TIMEOUT_S`, or it counts as silent.
        """
        with self._lock:
            if self._record.judge(verdicts, self._stamp_ns(), time.monotonic_ns()):
                self._send()
            self._log()

    def publish(self) -> None:
        """Publish how all subjects stand now."""
        with self._lock:
            self._record.poll(self._stamp_ns(), time.monotonic_ns())
            self._send()
            self._log()

    def _log(self) -> None:
        for name, problem in self._news.of(self._record.standings, time.monotonic_ns()):
            if problem:
                self._node.get_logger().warning(f'{name}: {problem}')
            else:
                self._node.get_logger().info(f'{name}: good again')

    def _new_record(self) -> TrustRecord:
        timeout_ns = round(TIMEOUT_S * 1e9)
        return TrustRecord(
            self._names, self._hold_ns, timeout_ns, self._stamp_ns(), time.monotonic_ns()
        )

    def _stamp_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)

    def _loop(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            try:
                self.publish()
            except Exception as error:  # the next one may go out
                self._node.get_logger().error(f'cannot publish health: {error}')

    def _send(self) -> None:
        standings = self._record.standings
        message = to_diagnostics(
            self._stamp_ns(),
            {name: _values(standing) for name, standing in standings.items()},
            levels={name: LEVELS[standing.trust] for name, standing in standings.items()},
            messages={name: standing.reason for name, standing in standings.items()},
            hardware_id=self._node.get_fully_qualified_name(),
        )
        self._publisher.publish(message)


def _values(standing: Standing) -> dict[str, object]:
    return {
        'trust': standing.trust.name.lower(),
        'since': f'{standing.since_ns // 10**9}.{standing.since_ns % 10**9:09d}',
        'latest': standing.latest.name.lower(),
    }
