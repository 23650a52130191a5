"""What planning may rely on: bad news counts at once, good news when it has lasted."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
import pytest

from perception_ros.core.trust import (
    INACTIVE,
    MOST_CAUSES,
    Trust,
    TrustNews,
    TrustRecord,
    Verdict,
)

HOLD, TIMEOUT = 3, 4
"""Whole numbers instead of nanoseconds: what matters is their order."""

BEGIN = 100
"""Stamps lie this far from the monotonic clock."""

HISTORIES = st.lists(st.tuples(st.integers(0, TIMEOUT), st.sampled_from(Trust)), max_size=30)
"""Verdicts, each so long after the one before; none so long that it counts as silence."""


def record(*names: str) -> TrustRecord:
    return TrustRecord(names or ('front',), HOLD, TIMEOUT, BEGIN, 0)


def judge(kept: TrustRecord, trust: Trust, now: int, name: str = 'front') -> bool:
    return kept.judge({name: Verdict(trust, trust.name)}, now + BEGIN, now)


def in_force(history: list[tuple[int, Trust]], since: int, now: int) -> set[Trust]:
    """Return the verdicts that held at any time in (since, now], straight from the definition."""
    times, at = [0], 0
    verdicts = [Trust.UNTRUSTED]
    for wait, trust in history:
        at += wait
        times.append(at)
        verdicts.append(trust)
    ends = [*times[1:], now]
    return {v for v, end in zip(verdicts, ends, strict=True) if since < end} | {verdicts[-1]}


@given(HISTORIES)
def test_a_subject_is_as_good_as_the_worst_of_the_last_seconds(
    history: list[tuple[int, Trust]],
) -> None:
    kept, now = record(), 0
    for index, (wait, trust) in enumerate(history):
        now += wait
        judge(kept, trust, now)
        expected = max(in_force(history[: index + 1], now - HOLD, now))
        standing = kept.standings['front']
        assert standing.trust is expected
        assert standing.latest is trust
        assert standing.trust >= trust, 'bad news waits for nothing'


@given(HISTORIES)
def test_since_is_when_the_level_last_changed_and_that_is_told(
    history: list[tuple[int, Trust]],
) -> None:
    kept, now = record(), 0
    for wait, trust in history:
        now += wait
        before = kept.standings['front']
        changed = judge(kept, trust, now)
        after = kept.standings['front']
        assert changed == (after.trust is not before.trust)
        assert after.since_ns == (now + BEGIN if changed else before.since_ns)


@given(HISTORIES, st.integers(0, HOLD))
def test_what_has_lasted_long_enough_counts(
    history: list[tuple[int, Trust]], early: int
) -> None:
    """Else a camera that has come back would never be used again."""
    kept, now = record(), 0
    for wait, trust in history:
        now += wait
        judge(kept, trust, now)
    judge(kept, Trust.TRUSTED, now)
    kept.poll(now + early + BEGIN, now + early)
    kept.poll(now + HOLD + BEGIN, now + HOLD)
    assert kept.standings['front'].trust is Trust.TRUSTED


@given(HISTORIES)
def test_silence_is_no_good_news(history: list[tuple[int, Trust]]) -> None:
    kept, now = record(), 0
    for wait, trust in history:
        now += wait
        judge(kept, trust, now)
    kept.poll(now + TIMEOUT + 1 + BEGIN, now + TIMEOUT + 1)
    standing = kept.standings['front']
    assert standing.trust is standing.latest is Trust.UNTRUSTED


def test_good_news_after_silence_must_last_too() -> None:
    """The silence is found by the verdict that ends it, if nobody has polled meanwhile."""
    kept = record()
    judge(kept, Trust.TRUSTED, 1)
    judge(kept, Trust.TRUSTED, 4)
    assert kept.standings['front'].trust is Trust.TRUSTED
    judge(kept, Trust.TRUSTED, 10)
    assert kept.standings['front'].trust is Trust.UNTRUSTED
    judge(kept, Trust.TRUSTED, 13)
    assert kept.standings['front'].trust is Trust.TRUSTED


def test_the_reason_is_that_of_the_level() -> None:
    """While a camera recovers the planner wants to know from what."""
    kept = record()
    kept.judge({'front': Verdict(Trust.UNTRUSTED, 'the camera is silent')}, BEGIN + 1, 1)
    kept.judge({'front': Verdict(Trust.TRUSTED)}, BEGIN + 2, 2)
    assert kept.standings['front'].reason == 'the camera is silent'
    kept.poll(BEGIN + 5, 5)
    assert kept.standings['front'].reason == ''


def test_subjects_do_not_touch_each_other() -> None:
    kept = record('front', 'rear')
    for now in range(5):
        judge(kept, Trust.TRUSTED, now, 'front')
        judge(kept, Trust.DEGRADED, now, 'rear')
    trusts = {name: standing.trust for name, standing in kept.standings.items()}
    assert trusts == {'front': Trust.TRUSTED, 'rear': Trust.DEGRADED}


def test_a_clock_that_is_set_back_holds_nothing_up() -> None:
    """Stamps are those of a bag that loops; how long something lasts is not measured on them."""
    kept = record()
    for now, stamp in ((0, 500), (1, 3), (2, 4), (3, 5)):
        kept.judge({'front': Verdict(Trust.TRUSTED)}, stamp, now)
    assert kept.standings['front'].trust is Trust.TRUSTED
    assert kept.standings['front'].since_ns == 5


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(KeyError):
        judge(record(), Trust.TRUSTED, 1, 'back')


def told(steps: Sequence[tuple[int, Trust, str]], hold: int = 3, patience: int = 3) -> list[str]:
    """Return what is told of verdicts, which are polled each second; each (for so long, ...)."""
    kept, news = TrustRecord(['front'], hold, TIMEOUT, BEGIN, 0), TrustNews(patience)
    now, lines = 0, []
    for seconds, trust, reason in steps:
        for _ in range(seconds):
            kept.judge({'front': Verdict(trust, reason)}, now + BEGIN, now)
            lines += [f'{now} {text}'.strip() for _, text in news.of(kept.standings, now)]
            now += 1
    return lines


GOOD, BAD = Trust.TRUSTED, Trust.UNTRUSTED


@pytest.mark.parametrize(('steps', 'lines'), [
    ([(9, GOOD, '')], []),
    ([(2, BAD, 'dark'), (9, GOOD, '')], []),
    ([(9, BAD, 'dark 1'), (9, BAD, 'dark 2'), (9, GOOD, '')], ['3 dark 1', '21']),
    ([(9, GOOD, ''), (5, BAD, 'dark'), (9, GOOD, '')], ['12 dark', '17']),
    ([(9, GOOD, ''), *[(1, BAD, 'dark'), (1, GOOD, '')] * 9, (9, GOOD, '')], ['13 dark', '29']),
    ([*[(3, BAD, 'dark'), (3, BAD, 'wet')] * 5], ['3 wet', '6 dark']),
    ([(9, BAD, 'dark'), (1, BAD, INACTIVE.reason), (9, GOOD, '')], ['3 dark']),
], ids=['good from the start', 'a moment at the start', 'once of each cause', 'good when it lasts',
        'now and then', 'two causes by turns', 'deactivated'])
def test_what_a_person_is_told(steps: list[tuple[int, Trust, str]], lines: list[str]) -> None:
    """What stays bad, once of each cause, and that it is good again: not each wavering."""
    assert told(steps) == lines


def test_silence_is_told_too() -> None:
    kept, news = TrustRecord(['front'], HOLD, TIMEOUT, BEGIN, 0), TrustNews(3)
    judge(kept, GOOD, 0)
    lines = []
    for now in range(1, 20):
        kept.poll(now + BEGIN, now)
        lines += [text for _, text in news.of(kept.standings, now)]
    assert len(lines) == 1
    assert 'nothing was heard of it' in lines[0]


def test_a_subject_with_ever_new_reasons_does_not_fill_the_log() -> None:
    steps = [(1, BAD, f'frame {letter} is unknown') for letter in 'abcdefghijklmnopqrstuvwxyz']
    assert len(told(steps)) == MOST_CAUSES
