"""Bags of every kind that is whole: topics, times, contents."""

from __future__ import annotations

from pathlib import Path
import tracemalloc

import numpy as np
import pytest
from rosbags.interfaces import QosReliability
from rosbags.rosbag2 import StoragePlugin, Writer

from perception_ros.bags import is_bag, messages
from perception_ros.bags.bag import open_bag
from perception_ros.bags.messages import IMAGE
from perception_ros.bags.qos import offered
from perception_ros.bags.store import Channel, Definition, in_time_order, Part, Record
from perception_ros.bags.types import standard
from perception_ros.core.errors import BagError
from test.bags.build import (
    COUNT,
    FRONT,
    image,
    MAKERS,
    noise,
    numbers,
    REAR,
    STEP_NS,
    time_of,
    two_cameras,
    write_bag2,
)


@pytest.mark.parametrize('kind', MAKERS)
def test_every_kind_of_bag_gives_what_was_written(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path, two_cameras())
    assert is_bag(path)
    with open_bag(path) as bag:
        assert {name: (topic.types, topic.count) for name, topic in bag.topics.items()} == {
            FRONT: ((IMAGE,), COUNT // 2), REAR: ((IMAGE,), COUNT // 2)
        }
        assert (bag.start_ns, bag.end_ns) == (time_of(0), time_of(COUNT - 1))
        assert numbers(bag) == list(range(COUNT))
        assert numbers(bag, [REAR]) == list(range(1, COUNT, 2)), 'a second pass, one topic'
        assert numbers(bag, None, time_of(5), time_of(9)) == [5, 6, 7, 8]
        assert bag.problems == []


@pytest.mark.parametrize(('kind', 'said'), [
    ('mcap-zstd', 'zstd'), ('mcap', ''), ('db3-file-zstd', 'zstd'), ('ros1-bz2', 'bz2'),
    ('ros1-lz4', 'lz4'), ('ros1', ''),
])
def test_it_says_how_it_is_compressed(tmp_path: Path, kind: str, said: str) -> None:
    with open_bag(MAKERS[kind](tmp_path, two_cameras(4))) as bag:
        assert bag.compression == said


def test_messages_of_ros_1_come_as_those_of_ros_2(tmp_path: Path) -> None:
    with open_bag(MAKERS['ros1'](tmp_path, two_cameras(1))) as bag:
        message = next(bag.messages())
        decoded = bag.decode(message)
    assert (decoded.header.frame_id, messages.stamp_ns(decoded.header)) == ('optical', time_of(0))
    assert decoded.encoding == 'rgb8'


def test_what_was_recorded_out_of_order_comes_in_the_order_of_time(tmp_path: Path) -> None:
    mixed = [two_cameras()[i] for i in np.random.default_rng(1).permutation(COUNT)]
    for kind in ('mcap-zstd', 'db3', 'ros1', 'mcap-split'):
        (tmp_path / kind).mkdir()
        with open_bag(MAKERS[kind](tmp_path / kind, mixed)) as bag:
            assert numbers(bag) == list(range(COUNT)), kind


def test_a_topic_that_is_not_there_is_said_and_the_others_are_read(tmp_path: Path) -> None:
    with open_bag(MAKERS['mcap'](tmp_path, two_cameras(4))) as bag:
        assert numbers(bag, [FRONT, '/gone']) == [0, 2]
        assert bag.problems == ['there is no topic /gone']
        with pytest.raises(BagError, match=f'no topic /gone; expected one of {FRONT}, {REAR}'):
            next(bag.messages(['/gone']))


def test_a_topic_may_have_two_types(tmp_path: Path) -> None:
    info = messages.camera_info(messages.header(5, 'optical'), 4, 3, np.eye(3))
    items = [(FRONT, image(0), time_of(0)), (FRONT, info, time_of(1))]
    with open_bag(write_bag2(tmp_path / 'bag', items)) as bag:
        assert bag.topics[FRONT].types == (IMAGE, messages.CAMERA_INFO)
        assert [message.type for message in bag.messages()] == [IMAGE, messages.CAMERA_INFO]


def test_an_empty_bag_says_so(tmp_path: Path) -> None:
    for kind in ('mcap', 'db3', 'ros1'):
        (tmp_path / kind).mkdir()
        with open_bag(MAKERS[kind](tmp_path / kind, [])) as bag:
            assert list(bag.messages()) == []
            assert len(bag.problems) == 1 and 'holds no messages' in bag.problems[0]


@pytest.mark.parametrize(('name', 'content', 'said'), [
    ('gone.mcap', None, 'there is no bag'),
    ('empty.mcap', b'', 'got an empty file'),
    ('empty.bag', b'', 'got an empty file'),
    ('notes.txt', b'text', 'expected a bag .* got a file .txt'),
    ('other.mcap', b'text' * 99, 'expected an MCAP file'),
    ('other.db3', b'text' * 99, 'expected a SQLite bag'),
    ('other.bag', b'text' * 99, 'expected a ROS 1 bag'),
    ('other.db3.zstd', b'text' * 99, 'other.db3: expected a bag, got an empty file'),
])
def test_what_is_no_bag_is_refused(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=said):
        open_bag(tmp_path / name)


def test_a_folder_without_bags_is_none(tmp_path: Path) -> None:
    assert not is_bag(tmp_path)
    with pytest.raises(BagError, match=r'expected files \*.mcap'):
        open_bag(tmp_path)


@pytest.mark.parametrize('kind', ['mcap-zstd', 'db3', 'ros1'])
def test_memory_does_not_grow_with_the_length_of_a_bag(tmp_path: Path, kind: str) -> None:
    head = messages.header(1, 'optical')
    items = [
        (FRONT, messages.label_image(head, noise(i, (600, 400))[..., 0]), time_of(i))
        for i in range(60)
    ]
    with open_bag(MAKERS[kind](tmp_path, items)) as bag:
        tracemalloc.start()
        try:
            read = sum(len(message.data) for message in bag.messages())
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert read > 14_000_000
    assert peak < 6_000_000, f'{peak / 1e6:.1f} MB for {read / 1e6:.1f} MB of messages'


def test_only_those_parts_are_open_whose_time_it_is() -> None:
    channel = Channel(FRONT, IMAGE, Definition(), 'cdr', False)
    open_now: set[int] = set()
    most = 0

    def part(number: int) -> Part:
        def records() -> object:
            nonlocal most
            open_now.add(number)
            most = max(most, len(open_now))
            for i in range(3):
                yield Record(10 * number + 5 * i, channel, b'')
            open_now.remove(number)

        return Part(10 * number, records)  # type: ignore[arg-type]

    times = [record.time_ns for record in in_time_order([part(i) for i in range(50)])]
    assert times == sorted(times) and len(times) == 150
    assert most <= 3


def test_equal_times_keep_their_order(tmp_path: Path) -> None:
    items = [(FRONT, image(i, stamp_ns=i), time_of(0)) for i in range(9)]
    for kind in ('mcap', 'db3', 'ros1'):
        (tmp_path / kind).mkdir()
        with open_bag(MAKERS[kind](tmp_path / kind, items)) as bag:
            stamps = [
                messages.stamp_ns(bag.decode(message).header) for message in bag.messages()
            ]
        assert stamps == list(range(9)), kind


def test_a_span_that_holds_nothing_is_empty(tmp_path: Path) -> None:
    with open_bag(MAKERS['mcap'](tmp_path, two_cameras(4))) as bag:
        assert list(bag.messages(None, time_of(4), time_of(4) + STEP_NS)) == []


@pytest.mark.parametrize('plugin', [*StoragePlugin], ids=lambda plugin: plugin.name)
def test_it_says_what_was_published_as_best_effort(tmp_path: Path, plugin: StoragePlugin) -> None:
    """Who plays the bag offers the same, so that a subscriber gets no more than on the vehicle."""
    profiles = [
        offered(is_latched=False)._replace(reliability=reliability)
        for reliability in (QosReliability.BEST_EFFORT, QosReliability.RELIABLE)
    ]
    writer = Writer(tmp_path / 'bag', version=9, storage_plugin=plugin)
    with writer:
        for topic, its in {FRONT: profiles[:1], REAR: profiles}.items():
            connection = writer.add_connection(
                topic, IMAGE, typestore=standard(), offered_qos_profiles=its
            )
            writer.write(connection, time_of(0), standard().serialize_cdr(image(0), IMAGE))
    with open_bag(tmp_path / 'bag') as bag:
        assert {name: topic.is_best_effort for name, topic in bag.topics.items()} == {
            FRONT: True, REAR: False,
        }
