"""What `bag info` finds out by reading a whole bag."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from perception_ros.bags import messages
from perception_ros.bags.bag import open_bag
from perception_ros.bags.survey import survey, TopicSurvey
from test.bags.build import (
    FRONT,
    image,
    Item,
    MAKERS,
    STEP_NS,
    time_of,
    two_cameras,
    write_bag2,
)


def surveyed(path: Path) -> tuple[dict[str, TopicSurvey], list[str]]:
    with open_bag(path) as bag:
        return {item.name: item for item in survey(bag)}, bag.problems


def front(*stamps_ns: int, times: list[int] | None = None) -> list[Item]:
    return [
        (FRONT, image(i, stamp_ns=stamp), time_of(i) if times is None else times[i])
        for i, stamp in enumerate(stamps_ns)
    ]


def test_a_bag_in_which_nothing_is_wrong(tmp_path: Path) -> None:
    topics, problems = surveyed(MAKERS['mcap'](tmp_path, two_cameras()))
    item = topics[FRONT]
    assert (item.count, item.content, item.remarks, problems) == (12, 'rgb8 60x40', (), [])
    assert item.rate_hz is not None and round(item.rate_hz, 6) == 5
    assert item.stamp_delay_s == (0.0, 0.0)
    assert item.bytes > 12 * 60 * 40 * 3


def test_a_gap_has_length_and_place(tmp_path: Path) -> None:
    times = [time_of(i) for i in (0, 1, 2, 3, 8, 9, 13)]
    items = front(*times, times=times)
    topics, _ = surveyed(write_bag2(tmp_path / 'bag', items))
    assert topics[FRONT].remarks == ('2 gaps, the longest of 0.50 s at 0.30 s',)


def test_stamps_that_cannot_be_right(tmp_path: Path) -> None:
    good = [time_of(i) for i in range(9)]
    stamps = [good[0], 0, good[2], good[2], good[1], good[5], good[6] + 7 * STEP_NS,
              good[7] + 7 * STEP_NS, good[8] + 7 * STEP_NS]
    topics, _ = surveyed(write_bag2(tmp_path / 'bag', front(*stamps)))
    assert topics[FRONT].remarks == (
        '1 stamp of 0', '1 stamp older than the one before', '1 stamp as the one before',
        '1 stamp after a jump of the clock',
    )


def test_the_delay_from_stamp_to_recording(tmp_path: Path) -> None:
    stamps = [time_of(i) - 1_000_000 * (i + 1) for i in range(5)]
    topics, _ = surveyed(write_bag2(tmp_path / 'bag', front(*stamps)))
    assert topics[FRONT].stamp_delay_s == (0.001, 0.005)


def test_messages_without_a_header_have_no_stamp(tmp_path: Path) -> None:
    tf = messages.transforms([(1, 'map', 'base_link', np.eye(4))])
    topics, problems = surveyed(write_bag2(tmp_path / 'bag', [('/tf', tf, time_of(0))]))
    assert (topics['/tf'].stamp_delay_s, topics['/tf'].rate_hz, problems) == (None, None, [])


def test_two_types_under_one_name_are_said(tmp_path: Path) -> None:
    info = messages.camera_info(messages.header(time_of(1), 'optical'), 4, 3, np.eye(3))
    items = [(FRONT, image(0), time_of(0)), (FRONT, info, time_of(1))]
    topics, _ = surveyed(write_bag2(tmp_path / 'bag', items))
    assert topics[FRONT].remarks == ('2 types under one name',)


def test_what_the_index_promises_and_what_is_there_differ(tmp_path: Path) -> None:
    path = MAKERS['mcap-each-message'](tmp_path, two_cameras(6))
    file = next(path.glob('*.mcap'))
    data = bytearray(file.read_bytes())
    place = data.index(b'\x28\xb5\x2f\xfd') + 4
    data[place : place + 4] = b'\xff' * 4  # the frame of one message
    file.write_bytes(data)
    topics, problems = surveyed(path)
    assert sum(item.count for item in topics.values()) == 5
    assert f'{FRONT}: the index says 3 messages, 2 could be read' in problems
