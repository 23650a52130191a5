"""What can be trusted right now, since when, and why not: for whoever plans with the results.

A subject (a camera, a model, the fusion) is as good as the worst that was in force in the last
few seconds: bad news counts at once, good news only when it has lasted. Before that much time is
over, and when nobody judges a subject any more, it is untrusted: silence is no good news.

The state is plain and has no clock. `now_ns` is monotonic, and durations are measured on it;
`stamp_ns` is what others compare with, and may jump.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from perception_ros.core.drop_log import cause_of

MOST_CAUSES = 8
"""So many reasons are told of one subject, until it is good again."""


class Trust(IntEnum):
    """How far a subject's results can be relied on; more is worse."""

    TRUSTED = 0
    DEGRADED = 1
    """There are results, but fewer, later or from a stand-in."""
    UNTRUSTED = 2
    """What is missing in the results says nothing about the road."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a subject fares at this moment, and why in one line."""

    trust: Trust
    reason: str = ''


INACTIVE = Verdict(Trust.UNTRUSTED, 'the node is not active')


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a subject can be trusted now.

    since_ns: stamp of when it came to this level. reason: of the worst that still counts.
    latest: how it fares at this moment; better than `trust` while it recovers.
    """

    trust: Trust
    reason: str
    since_ns: int
    latest: Trust


@dataclass(slots=True)
class _Subject:
    """What is remembered of one subject: for each level the last time that it was in force."""

    verdict: Verdict
    judged_ns: int
    last_ns: dict[Trust, int]
    reasons: dict[Trust, str]
    standing: Standing

    def note(self, verdict: Verdict, now_ns: int) -> None:
        """Take a verdict, up to which the one before was in force."""
        self.last_ns[self.verdict.trust] = now_ns
        self.last_ns[verdict.trust] = now_ns
        self.reasons[verdict.trust] = verdict.reason
        self.verdict = verdict


class TrustRecord:
    """Keeps the standing of each subject.

    :param names: of the subjects, which are untrusted until they have been good for `hold_ns`.
    :param hold_ns: how long bad news counts.
    :param timeout_ns: a subject that nobody has judged for longer than this is untrusted.
    """

    def __init__(
        self, names: Iterable[str], hold_ns: int, timeout_ns: int, stamp_ns: int, now_ns: int
    ) -> None:
        self._hold_ns = hold_ns
        self._timeout_ns = timeout_ns
        first = Verdict(Trust.UNTRUSTED, 'nothing is known of it yet')
        self._subjects = {
            name: _Subject(
                first,
                now_ns,
                {first.trust: now_ns},
                {first.trust: first.reason},
                Standing(first.trust, first.reason, stamp_ns, first.trust),
            )
            for name in names
        }

    @property
    def standings(self) -> Mapping[str, Standing]:
        """How each subject stood at the last `judge` or `poll`, in the order of the names."""
        return {name: subject.standing for name, subject in self._subjects.items()}

    def judge(self, verdicts: Mapping[str, Verdict], stamp_ns: int, now_ns: int) -> bool:
        """Take new verdicts; return whether the level of any subject has changed.

        :raises KeyError: a name that is none of the subjects.
        """
        for name, verdict in verdicts.items():
            subject = self._subjects[name]
            self._note_silence(subject, now_ns)
            subject.note(verdict, now_ns)
            subject.judged_ns = now_ns
        return self._update(stamp_ns, now_ns)

    def poll(self, stamp_ns: int, now_ns: int) -> bool:
        """Let time pass; return whether the level of any subject has changed."""
        for subject in self._subjects.values():
            self._note_silence(subject, now_ns)
        return self._update(stamp_ns, now_ns)

    def _note_silence(self, subject: _Subject, now_ns: int) -> None:
        if now_ns - subject.judged_ns > self._timeout_ns:
            reason = f'nothing was heard of it for more than {self._timeout_ns / 1e9:g} s'
            subject.note(Verdict(Trust.UNTRUSTED, reason), now_ns)

    def _update(self, stamp_ns: int, now_ns: int) -> bool:
        changed = False
        for subject in self._subjects.values():
            before, latest = subject.standing, subject.verdict.trust
            subject.last_ns[latest] = now_ns
            trust = max(
                level for level, at_ns in subject.last_ns.items()
                if level is latest or now_ns - at_ns < self._hold_ns
            )
            since_ns = before.since_ns if trust is before.trust else stamp_ns
            subject.standing = Standing(trust, subject.reasons[trust], since_ns, latest)
            changed |= trust is not before.trust
        return changed


@dataclass(slots=True)
class _Bad:
    """Since when a subject is bad, and which causes have been told of that."""

    since_ns: int
    told: set[str] = field(default_factory=set)


class TrustNews:
    """What of the standings a person should read: what stays bad, and that it is good again.

    :param patience_ns: how long a subject must be bad: at a start much is not there yet.
    """

    def __init__(self, patience_ns: int) -> None:
        self._patience_ns = patience_ns
        self._bad: dict[str, _Bad] = {}

    def of(self, standings: Mapping[str, Standing], now_ns: int) -> Iterator[tuple[str, str]]:
        """Yield names and what is wrong with them, once of each cause; '': good again.

        What is good at this moment, and may not be trusted yet, is no news; nor is a node that
        was deactivated.
        """
        for name, standing in standings.items():
            if standing.trust is Trust.TRUSTED or standing.reason == INACTIVE.reason:
                was = self._bad.pop(name, None)
                if was and was.told and standing.trust is Trust.TRUSTED:
                    yield name, ''
                continue
            if standing.latest is Trust.TRUSTED:
                continue
            bad = self._bad.setdefault(name, _Bad(now_ns))
            cause = cause_of(standing.reason)
            if now_ns - bad.since_ns < self._patience_ns or len(bad.told) >= MOST_CAUSES:
                continue
            if cause not in bad.told:
                bad.told.add(cause)
                yield name, standing.reason
