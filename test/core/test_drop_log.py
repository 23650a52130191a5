"""A broken camera must be told of, and must not drown the log."""

from __future__ import annotations

import logging

import pytest

from perception_ros.core.drop_log import CAUSES, DropLog, PERIOD_S
from perception_ros.core.types import Drop, DropReason


def test_the_first_at_once_then_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    now_s = [0.0]
    log = DropLog(lambda: now_s[0])
    with caplog.at_level(logging.DEBUG):
        for n in range(300):
            now_s[0] = n / 30
            log.report(Drop('front', DropReason.MISSING, n))
        log.report(Drop('left', DropReason.MISSING, 1))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3, 'front at 0 s and 5 s, left at once'
    assert lines[0].startswith('camera front: no frame came, missing')
    assert f'{round(PERIOD_S * 30) - 1} more' in lines[1]
    assert 'left' in lines[2]


def test_one_cause_does_not_hide_another(caplog: pytest.LogCaptureFixture) -> None:
    log = DropLog(lambda: 0.0)
    with caplog.at_level(logging.DEBUG):
        for n in range(30):
            log.report(Drop('front', DropReason.INVALID, n, '', f'step is {n} bytes'))
            log.report(Drop('front', DropReason.INVALID, n, '', f'stamp is {-n}'))
    assert [record.getMessage().split(': ')[-1] for record in caplog.records] == [
        'step is 0 bytes', 'stamp is 0'
    ]


def test_ever_new_causes_do_not_fill_the_disk(caplog: pytest.LogCaptureFixture) -> None:
    """A camera may send garbage, which is different garbage each time."""
    log = DropLog(lambda: 0.0)
    with caplog.at_level(logging.DEBUG):
        for n in range(1000):
            garbage = chr(0x4E00 + n)
            log.report(Drop('front', DropReason.INVALID, n, '', f'encoding {garbage}'))
    assert len(caplog.records) == CAUSES


@pytest.mark.parametrize(
    ('reason', 'level'),
    [
        (DropReason.RATE, logging.DEBUG),
        (DropReason.SUPERSEDED, logging.INFO),
        (DropReason.STALE, logging.WARNING),
        (DropReason.FAILED, logging.ERROR),
    ],
)
def test_what_is_as_configured_is_no_warning(
    reason: DropReason, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        DropLog().report(Drop('front', reason, 1, 'm', 'because'))
    [record] = caplog.records
    assert record.levelno == level
    assert 'model m' in record.getMessage()
    assert 'because' in record.getMessage()
