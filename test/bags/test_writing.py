"""Bags that are written, and parts cut out of others."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
import resource
import time
from typing import Any

import numpy as np
import pytest
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Writer1
from rosbags.typesys import get_types_from_msg, get_typestore, Stores

from perception_ros.bags import messages
from perception_ros.bags.bag import open_bag, TF_STATIC
from perception_ros.bags.cut import cut
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import BagError
from test.bags.build import (
    COUNT,
    FRONT,
    image,
    MAKERS,
    numbers,
    REAR,
    time_of,
    two_cameras,
)

TARGETS = ('bag.mcap', 'bag.db3', 'bag')


def written(path: Path, **options: Any) -> Path:
    with BagWriter(path, **options) as writer:
        writer.add_topic(TF_STATIC, messages.TF, is_latched=True)
        mounted = [(1, 'base_link', 'optical', np.eye(4))]
        writer.write(TF_STATIC, messages.transforms(mounted), time_of(0))
        for topic, message, time_ns in two_cameras():
            writer.write(topic, message, time_ns)
    return path


@pytest.mark.parametrize('name', TARGETS)
def test_the_library_reads_what_was_written(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name)
    with AnyReader([path]) as reader:
        found = [
            (connection.topic, time_ns, reader.deserialize(data, connection.msgtype))
            for connection, time_ns, data in reader.messages()
        ]
        durable = {c.topic for c in reader.connections
                   if c.ext.offered_qos_profiles[0].durability.name == 'TRANSIENT_LOCAL'}
    assert len(found) == COUNT + 1 and durable == {TF_STATIC}
    images = [item for item in found if item[0] != TF_STATIC]
    for (topic, time_ns, got), (wanted, message, at) in zip(images, two_cameras(), strict=True):
        assert (topic, time_ns, got.encoding) == (wanted, at, message.encoding)
        assert np.array_equal(got.data, message.data)


@pytest.mark.parametrize('name', TARGETS)
def test_the_same_messages_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    digests = []
    for folder in ('a', 'b'):
        path = written(tmp_path / folder / name)
        files = sorted(p for p in ([path] if path.is_file() else path.iterdir()))
        digests.append([sha256(file.read_bytes()).hexdigest() for file in files])
        time.sleep(1.1 if folder == 'a' and name == 'bag.db3' else 0)
    assert digests[0] == digests[1]


@pytest.mark.parametrize('name', TARGETS)
def test_nothing_is_left_of_a_bag_that_failed(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError), BagWriter(tmp_path / name) as writer:
        writer.write(FRONT, image(0), time_of(0))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_bag_is_written_over_only_on_demand(tmp_path: Path) -> None:
    for name in TARGETS:
        path = written(tmp_path / name)
        with pytest.raises(BagError, match='exists; name another place'):
            written(path)
        with BagWriter(path, overwrite=True) as writer:
            writer.write(FRONT, image(0), time_of(0))
        with open_bag(path) as bag:
            assert numbers(bag) == [0]
    assert len(list(tmp_path.iterdir())) == len(TARGETS)


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Let no file grow beyond 100 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('name', TARGETS)
@pytest.mark.usefixtures('small_disk')
def test_a_full_disk_is_said_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    with (
        pytest.raises(BagError, match=rf'{name}: cannot be written; (File too large|disk I/O)'),
        BagWriter(tmp_path / name) as writer,
    ):
        for index in range(200):
            writer.write(FRONT, image(index), time_of(index))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_does_not_replace_a_file(tmp_path: Path) -> None:
    """Which would be seen after the work, when it is put in its place."""
    (tmp_path / 'notes').write_text('years')
    with pytest.raises(BagError, match=r'is a file: .* ends with .mcap or .db3'):
        written(tmp_path / 'notes', overwrite=True)


def test_a_folder_with_other_things_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'thesis.txt').write_text('years')
    with pytest.raises(BagError, match='no bag: it is not written over'):
        written(tmp_path / 'work', overwrite=True)
    assert (tmp_path / 'work' / 'thesis.txt').read_text() == 'years'


class TestCut:

    @pytest.mark.parametrize('kind', ['mcap-zstd', 'db3-split', 'ros1', 'mcap-each-message'])
    @pytest.mark.parametrize('name', ['part.mcap', 'part.db3'])
    def test_by_time_and_topic(self, tmp_path: Path, kind: str, name: str) -> None:
        with open_bag(MAKERS[kind](tmp_path, two_cameras())) as bag:
            counts = cut(bag, tmp_path / name, topics=[REAR], start_ns=time_of(3),
                         end_ns=time_of(9))
            assert bag.problems == []
        assert counts == {REAR: 3}
        with open_bag(tmp_path / name) as part:
            assert list(part.topics) == [REAR]
            assert numbers(part) == [3, 5, 7]

    def test_what_was_latched_before_is_put_at_the_start(self, tmp_path: Path) -> None:
        with open_bag(written(tmp_path / 'bag.mcap')) as bag:
            cut(bag, tmp_path / 'part.mcap', start_ns=time_of(20))
        with open_bag(tmp_path / 'part.mcap') as part:
            assert part.topics[TF_STATIC].is_latched
            assert [m.time_ns for m in part.messages([TF_STATIC])] == [time_of(20)]
            assert numbers(part, [FRONT, REAR]) == [20, 21, 22, 23]
            assert part.start_ns == time_of(20)

    def test_a_damaged_bag_gives_a_whole_one(self, tmp_path: Path) -> None:
        path = MAKERS['mcap'](tmp_path, two_cameras())
        path.write_bytes(path.read_bytes()[:-30_000])
        with open_bag(path) as bag:
            cut(bag, tmp_path / 'whole.mcap')
            assert bag.problems
        with open_bag(tmp_path / 'whole.mcap') as whole:
            found = numbers(whole)
            assert whole.problems == [] and found == list(range(len(found))) and len(found) > 15

    def test_a_type_of_the_bag_s_own_goes_with_it(self, tmp_path: Path) -> None:
        """And so does one of ROS 1 whose header has another layout there."""
        types = get_typestore(Stores.ROS1_NOETIC)
        text = 'Header header\ntime when\nfloat32[] values'
        types.register(get_types_from_msg(text, 'our_msgs/msg/Odd'))
        with Writer1(tmp_path / 'bag.bag') as writer:
            connection = writer.add_connection('/odd', 'our_msgs/msg/Odd', typestore=types)
            stamp = types.types['builtin_interfaces/msg/Time'](3, 4)
            head = types.types['std_msgs/msg/Header'](9, stamp, 'x')
            message = types.types['our_msgs/msg/Odd'](head, stamp, np.float32([1, 2.5]))
            writer.write(connection, 7, types.serialize_ros1(message, 'our_msgs/msg/Odd'))
        with open_bag(tmp_path / 'bag.bag') as bag:
            cut(bag, tmp_path / 'part.mcap')
            assert bag.problems == []
        for path in (tmp_path / 'bag.bag', tmp_path / 'part.mcap'):
            with open_bag(path) as part:
                found = part.decode(next(part.messages()))
            assert (found.header.frame_id, found.when.nanosec) == ('x', 4)
            assert found.values.tolist() == [1, 2.5]

    def test_nothing_in_a_span_is_said_and_nothing_written(self, tmp_path: Path) -> None:
        with (
            open_bag(MAKERS['mcap'](tmp_path, two_cameras())) as bag,
            pytest.raises(BagError, match=r'no message .* the bag lasts 2.300 s'),
        ):
            cut(bag, tmp_path / 'part.mcap', start_ns=time_of(99))
        assert not (tmp_path / 'part.mcap').exists()

    def test_what_is_latched_alone_is_a_part_only_if_asked_for(self, tmp_path: Path) -> None:
        with open_bag(written(tmp_path / 'bag.mcap')) as bag:
            with pytest.raises(BagError, match='no message on these topics in this span'):
                cut(bag, tmp_path / 'part.mcap', start_ns=time_of(99))
            assert not (tmp_path / 'part.mcap').exists()
            counts = cut(bag, tmp_path / 'part.mcap', topics=[TF_STATIC], start_ns=time_of(20))
        assert counts == {TF_STATIC: 1}
