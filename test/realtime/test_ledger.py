"""Whatever comes in whatever order, each frame that was published has one fate."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
import numpy as np

from perception_ros.core.passage import Passage
from perception_ros.core.types import Detections
from perception_ros.realtime.ledger import Ledger, Publication
from perception_ros.replay.journal import Journal
from perception_ros.replay.tables import DETECTIONS, FRAMES, ON_THE_WAY, TIMED, TIMINGS

MODELS = frozenset({'boxes', 'masks'})
OUTPUTS = {'boxes': frozenset({'detections'}), 'masks': frozenset({'semantic/a', 'semantic/b'})}
PASSAGE = Passage(416, 420, 425, 426, 428, 430, 434, 437, 441)
"""Of a frame that was published at 400."""
FATES = ('answered', 'half', 'dropped', 'silent')
FOUND = Detections(
    np.array([[1, 2, 3, 4]], np.float32), np.array([0.5], np.float32), np.array([0], np.int32),
    ('car',),
)


def ledger(journal: Journal, *, has_log: bool = True) -> Ledger:
    return Ledger(journal, {'front': MODELS}, OUTPUTS, has_log=has_log)


def publication(stamp_ns: int, bag_stamp_ns: int | None = None) -> Publication:
    return Publication('front', stamp_ns, bag_stamp_ns or stamp_ns, 100 * stamp_ns, 3, 7, (8, 6))


def events(stamp_ns: int, model: str, fate: str) -> list[Any]:
    """Return what comes of a frame: lines of the log, and outputs that are heard."""
    if fate == 'dropped':
        return [['dropped', 'front', stamp_ns, model, 'superseded', '']]
    if fate == 'silent':
        return []
    outputs = sorted(OUTPUTS[model])
    said = [(stamp_ns, model, output) for output in outputs[: -1 if fate == 'half' else None]]
    return [*said, ['inferred', 'front', stamp_ns, model, PASSAGE._asdict()]]


@given(
    fates=st.lists(
        st.tuples(st.sampled_from(FATES), st.sampled_from(FATES)), min_size=1, max_size=8
    ),
    data=st.data(),
)
def test_every_frame_has_one_fate_for_each_model(
    fates: list[tuple[str, str]], data: st.DataObject
) -> None:
    journal = Journal()
    book = ledger(journal)
    come: list[Any] = []
    for stamp_ns, pair in enumerate(fates, 1):
        book.publish(publication(stamp_ns))
        for model, fate in zip(sorted(MODELS), pair, strict=True):
            come += events(stamp_ns, model, fate)
    for event in data.draw(st.permutations(come)):
        if isinstance(event, list):
            book.read(event)
        else:
            stamp_ns, model, output = event
            book.hear('front', stamp_ns, model, output, 100 * stamp_ns + 50, FOUND)
    book.give_up()
    rows = journal.take()
    counts = book.counts['front']
    assert book.is_settled and not book.strays
    assert counts.published == len(fates) == counts.inferred + counts.dropped.total()
    assert counts.inferred == sum(pair == ('answered', 'answered') for pair in fates)
    seen: Counter[tuple[int, str]] = Counter()
    for _, stamp_ns, model, *_ in rows[FRAMES]:
        seen.update((stamp_ns, name) for name in ([model] if model else MODELS))
    assert seen == Counter((s, m) for s in range(1, len(fates) + 1) for m in MODELS)
    answered = sum(fate == 'answered' for pair in fates for fate in pair)
    assert len(rows[TIMINGS]) == answered
    assert {row[3] for row in rows[FRAMES]} <= {'inferred', 'dropped'}
    reasons = {row[4] for row in rows[FRAMES]}
    # a mask and boxes have as many outputs as it takes to be half there
    assert ('unheard' in reasons) == any('half' in pair for pair in fates)
    assert ('lost' in reasons) == any('silent' in pair for pair in fates)


def test_times_are_those_of_the_frame() -> None:
    """Age is what the vehicle had before it was recorded, and what was measured here."""
    journal = Journal()
    book = Ledger(journal, {'front': frozenset({'boxes'})}, OUTPUTS, has_log=True)
    book.publish(publication(4, bag_stamp_ns=2))
    book.hear('front', 4, 'boxes', 'detections', 450, FOUND)
    assert not book.is_settled, 'the log has said nothing yet'
    book.read(['inferred', 'front', 4, 'boxes', PASSAGE._asdict()])
    rows = journal.take()
    [timing] = rows[TIMINGS]
    assert timing[:3] == ('front', 2, 'boxes'), 'under the stamp of the bag'
    times_ns = dict(zip(TIMED, timing[3:], strict=True))
    assert times_ns.pop('infer') == 4
    ways_ns = {name: value for name, value in times_ns.items() if name in ON_THE_WAY}
    assert ways_ns == {'late': 3, 'to_node': 20, 'from_node': 9, 'end_to_end': 50, 'age': 60}
    assert times_ns['total'] == 21, 'from the receipt: the stamp is of another time'
    assert times_ns['total'] + ways_ns['to_node'] + ways_ns['from_node'] == 50
    assert [row[1] for row in rows[DETECTIONS]] == [2]


def test_the_second_of_two_with_one_stamp_is_the_one_that_is_dropped() -> None:
    journal = Journal()
    book = ledger(journal)
    book.publish(publication(4))
    book.publish(publication(4))
    book.read(['dropped', 'front', 4, '', 'duplicate', ''])
    for event in [*events(4, 'boxes', 'answered'), *events(4, 'masks', 'answered')]:
        if isinstance(event, list):
            book.read(event)
        else:
            stamp_ns, model, output = event
            book.hear('front', stamp_ns, model, output, 420, FOUND)
    counts = book.counts['front']
    assert book.is_settled and (counts.inferred, counts.dropped) == (1, {'duplicate': 1})


def test_what_nobody_published_is_a_stray() -> None:
    journal = Journal()
    book = ledger(journal)
    book.hear('front', 4, 'boxes', 'detections', 450, FOUND)
    book.read(['dropped', 'front', 4, '', 'stale', ''])
    assert book.strays == 2 and not journal.take()[FRAMES]


def test_without_a_log_an_answer_is_enough() -> None:
    journal = Journal()
    book = ledger(journal, has_log=False)
    for stamp_ns in (4, 5):
        book.publish(publication(stamp_ns))
    for model, outputs in OUTPUTS.items():
        for output in sorted(outputs):
            book.hear('front', 4, model, output, 450, FOUND)
    book.give_up()
    assert (book.counts['front'].inferred, book.counts['front'].dropped) == (1, {'lost': 1})


def test_old_ones_are_given_up_while_others_go_on() -> None:
    """Memory stays flat, however many are lost."""
    book = ledger(Journal())
    for stamp_ns in range(1, 6):
        book.publish(publication(stamp_ns))
    book.give_up(before_ns=300)
    assert book.counts['front'].dropped == {'lost': 2} and not book.is_settled
