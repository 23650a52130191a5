"""Damaged bags: whatever is whole is read as it was written, and the rest is said.

Every bag here is made whole by the library's own writers and then damaged on the disk.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import shutil
import sqlite3
import struct
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.bags import messages
from perception_ros.bags.bag import open_bag
from perception_ros.bags.frames import camera_topics, frames
from perception_ros.bags.salvage.mcap import MAGIC, outline
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
    write_bag2,
)

KINDS = ('mcap', 'mcap-zstd', 'db3', 'ros1', 'ros1-lz4', 'ros1-bz2')
_CHUNK, _CHUNK_INDEX, _STATISTICS = 0x06, 0x08, 0x0B


@pytest.fixture(scope='module')
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One bag of each kind, in one file of several chunks where the kind has them."""
    folder = tmp_path_factory.mktemp('whole')
    made = {}
    for kind in KINDS:
        (folder / kind).mkdir()
        made[kind] = MAKERS[kind](folder / kind, two_cameras(size=(240, 160)))
    return made


def read_what_is_left(path: Path) -> tuple[list[int], list[str]]:
    """Return the images that can be read, each as it was made, and what is said to be damaged."""
    try:
        with open_bag(path) as bag:
            found = numbers(bag)
            assert found == sorted(found)
            return found, bag.problems
    except BagError as error:
        assert str(path) in str(error)
        return [], [str(error)]


class TestCutOff:

    @pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'ros1-bz2'])  # slow
    def test_at_every_kind_of_place(
        self, tmp_path: Path, whole: dict[str, Path], kind: str
    ) -> None:
        data = whole[kind].read_bytes()
        path = tmp_path / f'cut{whole[kind].suffix}'
        # within the first and the last records byte by byte, and all over the rest
        places = {1, 7, 8, 9, 12, 13, 20, 50, 100, 150, *range(1000, len(data), len(data) // 12)}
        places |= {len(data) - left for left in (1, 4, 8, 9, 20, 36, 37, 40, 60, 100, 300, 900)}
        before = 0
        for place in sorted(places):
            path.write_bytes(data[:place])
            found, problems = read_what_is_left(path)
            assert problems or len(found) == COUNT, f'{place} bytes: {len(found)} images'
            if kind != 'db3':  # whose pages may lie in any order
                assert found == list(range(len(found))), f'{place} bytes'
                assert len(found) >= before, f'{place} bytes hold no fewer than before'
                before = len(found)

    @pytest.mark.parametrize(('kind', 'least'), [
        # of half a file, what comes before the cut: a compressor keeps some back
        ('mcap', 11), ('mcap-zstd', 11), ('ros1', 11), ('ros1-lz4', 11), ('ros1-bz2', 4),
        ('db3', 9),
    ])
    def test_in_the_middle_costs_no_more_than_the_other_half(
        self, tmp_path: Path, whole: dict[str, Path], kind: str, least: int
    ) -> None:
        data = whole[kind].read_bytes()
        path = tmp_path / f'cut{whole[kind].suffix}'
        path.write_bytes(data[: len(data) // 2])
        found, problems = read_what_is_left(path)
        assert least <= len(found) <= COUNT // 2
        assert f'{path.name} is damaged' in problems[0]

    def test_a_topic_may_be_asked_for_and_a_time(
        self, tmp_path: Path, whole: dict[str, Path]
    ) -> None:
        data = whole['mcap'].read_bytes()
        path = tmp_path / 'cut.mcap'
        path.write_bytes(data[: len(data) * 3 // 4])
        with open_bag(path) as bag:
            assert bag.topics[FRONT].count == 9
            assert numbers(bag, [REAR], time_of(4), time_of(10)) == [5, 7, 9]

    @pytest.mark.parametrize('kind', ['mcap-file-zstd', 'db3-file-zstd'])
    def test_of_a_compressed_file_the_start_is_read(self, tmp_path: Path, kind: str) -> None:
        path = MAKERS[kind](tmp_path, two_cameras())
        packed = path if path.is_file() else next(path.glob('*.zstd'))
        packed.write_bytes(packed.read_bytes()[:-9000])
        found, problems = read_what_is_left(path)
        assert 'was cut off; what comes before is read' in problems[0]
        assert 10 < len(found) < COUNT


@pytest.mark.parametrize('kind', ['mcap-zstd', 'db3', 'ros1'])
def test_memory_does_not_grow_with_what_is_salvaged(tmp_path: Path, kind: str) -> None:
    path = MAKERS[kind](tmp_path, two_cameras(90, (300, 200)))
    path.write_bytes(path.read_bytes()[:-100_000])
    tracemalloc.start()
    try:
        with open_bag(path) as bag:
            read = sum(len(message.data) for message in bag.messages())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert bag.problems and read > 15_000_000
    assert peak < 11_000_000, f'{peak / 1e6:.1f} MB for {read / 1e6:.1f} MB of messages'


class TestDamagedInside:

    @pytest.mark.parametrize('kind', [kind for kind in KINDS if kind != 'ros1-bz2'])  # slow
    def test_bytes_that_were_overwritten(
        self, tmp_path: Path, whole: dict[str, Path], kind: str
    ) -> None:
        """As a disk returns a block that it cannot read: the messages around it are there."""
        original = whole[kind].read_bytes()
        path = tmp_path / f'hole{whole[kind].suffix}'
        for place in range(4096, len(original), len(original) // 7):
            data = bytearray(original)
            data[place : place + 512] = bytes(512)[: len(data) - place]
            path.write_bytes(data)
            with open_bag(path) as bag:
                left = sum(1 for _ in bag.messages())
            # at worst a chunk is lost, or a page of SQLite that holds others together
            assert left >= COUNT // 2, f'at byte {place}'

    def test_a_chunk_that_is_no_chunk_any_more_costs_only_itself(
        self, tmp_path: Path, whole: dict[str, Path]
    ) -> None:
        data = bytearray(whole['mcap'].read_bytes())
        chunks = [record for record in records(data) if record[0] == _CHUNK]
        assert len(chunks) >= 3
        _, start, _ = chunks[1]
        data[start - 9 : start + 60] = b'\xff' * 69
        path = tmp_path / 'hole.mcap'
        path.write_bytes(data)
        found, problems = read_what_is_left(path)
        assert f'bytes from byte {start - 9} on are no records' in '; '.join(problems)
        assert 0 in found and COUNT - 1 in found and 10 <= len(found) < COUNT

    def test_what_the_library_gave_before_it_failed_is_not_given_twice(
        self, tmp_path: Path, whole: dict[str, Path]
    ) -> None:
        data = bytearray(whole['mcap-zstd'].read_bytes())
        chunks = [record for record in records(data) if record[0] == _CHUNK]
        _, start, end = chunks[-1]
        data[end - 2000 : end] = b'\xff' * 2000
        head = start + 32 + len('zstd') + 8
        assert data[head : head + 4] == b'\x28\xb5\x2f\xfd'
        data[head : head + 4] = bytes(4)
        path = tmp_path / 'hole.mcap'
        path.write_bytes(data)
        with open_bag(path) as bag:
            assert bag.problems == [], 'its index is whole'
            times = [message.time_ns for message in bag.messages()]
            assert times == sorted(set(times))
            assert 'hole.mcap is damaged inside' in bag.problems[0]
            again = [message.time_ns for message in bag.messages()]
        assert again == times and len(times) >= COUNT // 2

    def test_one_message_that_cannot_be_decompressed_is_left_out(self, tmp_path: Path) -> None:
        folder = MAKERS['db3-each-message'](tmp_path, two_cameras())
        database = sqlite3.connect(next(folder.glob('*.db3')))
        with database:
            database.execute('UPDATE messages SET data = substr(data, 1, 900) WHERE id = 5')
        database.close()
        found, problems = read_what_is_left(folder)
        assert found == [i for i in range(COUNT) if i != 4]
        assert len(problems) >= 1 and 'decompressed' in '; '.join(problems)


    def test_rows_that_hold_no_bytes_are_left_out(self, tmp_path: Path) -> None:
        """More of them in a row than are looked at at once."""
        path = MAKERS['db3'](tmp_path, two_cameras(200, (6, 4)))
        database = sqlite3.connect(path)
        with database:
            database.execute("UPDATE messages SET data = 'text' WHERE id BETWEEN 3 AND 180")
        database.close()
        path.write_bytes(path.read_bytes()[:-1])
        found, problems = read_what_is_left(path)
        assert found[:2] == [0, 1] and 15 < len(found) <= 22 and problems

    def test_a_hole_in_the_rows_is_passed_by(self, tmp_path: Path) -> None:
        path = MAKERS['db3'](tmp_path, two_cameras(100, (60, 40)))
        data = bytearray(path.read_bytes())
        for page in range(40, 60):  # whole pages: those of some messages, and of no others
            data[4096 * page : 4096 * (page + 1)] = b'\xff' * 4096
        path.write_bytes(data)
        with open_bag(path) as bag:
            left = sum(1 for _ in bag.messages())
        assert 60 < left < 100


class TestWrongIndex:

    @pytest.mark.parametrize(('change', 'said'), [
        pytest.param(lambda data, start: struct.pack_into('<Q', data, start + 16, 99),
                     'its index lists', id='misplaced-chunk'),
        pytest.param(lambda data, start: struct.pack_into('<2Q', data, start, 1, 2),
                     'its index lists', id='wrong-times'),
        pytest.param(lambda data, start: struct.pack_into('<B', data, start - 9, 0x0C),
                     'its index lists', id='missing-chunk'),
        pytest.param(lambda data, start: struct.pack_into('<Q', data, len(data) - 28, 77),
                     '', id='summary-elsewhere'),
    ])
    def test_of_mcap_is_not_believed(
        self, tmp_path: Path, whole: dict[str, Path],
        change: Callable[[bytearray, int], None], said: str,
    ) -> None:
        data = bytearray(whole['mcap'].read_bytes())
        index = [start for op, start, _ in records(data) if op == _CHUNK_INDEX]
        change(data, index[0])
        path = tmp_path / 'bag.mcap'
        path.write_bytes(data)
        found, problems = read_what_is_left(path)
        assert found == list(range(COUNT)), 'nothing is lost'
        assert said in problems[0] and len(problems) == 1

    def test_of_ros_1_is_not_believed(self, tmp_path: Path, whole: dict[str, Path]) -> None:
        data = bytearray(whole['ros1'].read_bytes())
        place = data.index(b'index_pos=') + len(b'index_pos=')
        for position in (0, 13, len(data) // 2, len(data) + 5):
            struct.pack_into('<Q', data, place, position)
            path = tmp_path / 'bag.bag'
            path.write_bytes(data)
            found, problems = read_what_is_left(path)
            assert found == list(range(COUNT)), f'index at {position}'
            assert problems

    def test_an_index_that_is_right_is_believed(self, whole: dict[str, Path]) -> None:
        assert outline(whole['mcap']) == outline(whole['mcap-zstd']) == ('', True)


def test_messages_out_of_order_in_a_file_without_index(tmp_path: Path) -> None:
    """The library refuses those; a logger that was cut off, or streams, leaves such files."""
    mixed = [two_cameras()[i] for i in (3, 1, 0, 2, 7, 6, 5, 4)]
    data = MAKERS['mcap'](tmp_path, mixed).read_bytes()
    path = tmp_path / 'stream.mcap'
    path.write_bytes(_without_chunks(data))
    found, problems = read_what_is_left(path)
    assert (found, problems) == (list(range(8)), []), 'nothing is wrong with it'


def test_messages_that_a_log_holds_are_read_with_it(tmp_path: Path) -> None:
    """A recorder that was killed leaves its newest messages in SQLite's log beside the file."""
    path = MAKERS['db3'](tmp_path, two_cameras(4))
    database = sqlite3.connect(path, isolation_level=None)
    database.execute('PRAGMA journal_mode = WAL')
    database.execute('PRAGMA wal_autocheckpoint = 0')
    copies = 'topic_id, timestamp + 1000, data FROM messages'
    database.execute(f'INSERT INTO messages (topic_id, timestamp, data) SELECT {copies}')
    killed = tmp_path / 'killed'
    killed.mkdir()
    for name in (path.name, f'{path.name}-wal'):
        shutil.copy(path.parent / name, killed / name)
    database.close()
    with open_bag(killed / path.name) as bag:
        assert sum(1 for _ in bag.messages()) == 8
        assert 'it was not closed' in bag.problems[0]


class TestFolders:

    def test_a_file_that_is_missing_is_said(self, tmp_path: Path) -> None:
        path = MAKERS['mcap-split'](tmp_path, two_cameras())
        (path / 'bag_10.mcap').unlink()
        found, problems = read_what_is_left(path)
        assert found == [*range(8), *range(16, COUNT)]
        assert problems == [
            'bag: of the files that metadata.yaml names, bag_10.mcap are missing'
        ]

    def test_a_file_that_is_rubbish_costs_only_itself(self, tmp_path: Path) -> None:
        path = MAKERS['db3-split'](tmp_path, two_cameras())
        (path / 'bag_9.db3').write_bytes(b'rubbish' * 99)
        found, problems = read_what_is_left(path)
        assert found == list(range(8, COUNT))
        assert 'bag_9.db3' in problems[0]

    @pytest.mark.parametrize('text', ['', '{', 'rosbag2_bagfile_information: 3', '\x00'])
    def test_metadata_that_cannot_be_read_are_done_without(
        self, tmp_path: Path, text: str
    ) -> None:
        path = MAKERS['mcap-split'](tmp_path, two_cameras())
        (path / 'metadata.yaml').write_text(text)
        found, problems = read_what_is_left(path)
        assert found == list(range(COUNT))
        assert len(problems) == 1 and 'metadata.yaml cannot be read' in problems[0]


class TestWrongMessages:

    def test_a_message_of_another_type_on_an_image_topic(self, tmp_path: Path) -> None:
        info = messages.camera_info(messages.header(5, 'optical'), 4, 3, np.eye(3))
        items = [(FRONT, image(0), time_of(0)), (FRONT, info, time_of(1)),
                 (FRONT, image(2), time_of(2))]
        with open_bag(write_bag2(tmp_path / 'bag', items)) as bag:
            assert len(list(frames(bag, camera_topics(bag)))) == 2
            assert bag.problems == [
                f'{FRONT}: expected images, got a message of sensor_msgs/msg/CameraInfo'
            ]

    def test_bytes_of_another_type_than_the_topic_s(self, tmp_path: Path) -> None:
        path = MAKERS['db3'](tmp_path, two_cameras(6))
        database = sqlite3.connect(path)
        with database:
            database.execute("UPDATE messages SET data = x'000100004142' WHERE id in (1, 3)")
        database.close()
        with open_bag(path) as bag:
            kept = [frame.stamp_ns for frame in frames(bag, camera_topics(bag))]
            assert kept == [time_of(1), time_of(3), time_of(4), time_of(5)]
            assert 'ends within header.stamp' in bag.problems[0]
            assert bag.problems[1] == f'{FRONT}: 2 messages were left out'

    def test_a_topic_of_another_type_is_named_with_what_could_be_meant(
        self, tmp_path: Path
    ) -> None:
        info = messages.camera_info(messages.header(5, 'optical'), 4, 3, np.eye(3))
        items = [(FRONT, image(0), time_of(0)), ('/info', info, time_of(1))]
        with (
            open_bag(write_bag2(tmp_path / 'bag', items)) as bag,
            pytest.raises(BagError, match=rf'no images on /info \(.*CameraInfo\); .* {FRONT}'),
        ):
            camera_topics(bag, ['/info'])

    def test_a_stamp_of_0_is_no_reason_to_lose_an_image(self, tmp_path: Path) -> None:
        items = [(FRONT, image(i, stamp_ns=0), time_of(i)) for i in range(3)]
        with open_bag(write_bag2(tmp_path / 'bag', items)) as bag:
            assert [frame.stamp_ns for frame in frames(bag, camera_topics(bag))] == [0, 0, 0]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_no_damage_ends_in_anything_but_a_message(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Any bytes, anywhere: a bag is read or refused, in words."""
    _spoil(tmp_path_factory, data)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_no_damage_ends_in_anything_but_a_message_at_length(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    _spoil(tmp_path_factory, data)


_made: dict[str, bytes] = {}


def _spoil(factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    if kind not in _made:
        _made[kind] = MAKERS[kind](factory.mktemp(kind), two_cameras(6)).read_bytes()
    content = bytearray(_made[kind])
    for _ in range(data.draw(st.integers(1, 3))):
        # the structure lies at both ends, and much of the middle is pixels
        distance = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 3000))
        place = data.draw(st.sampled_from([distance, -distance - 1]))
        spoilt = data.draw(st.binary(min_size=1, max_size=9))
        if data.draw(st.booleans()):
            content[place : place + len(spoilt) if place >= 0 else len(content)] = spoilt
        else:
            del content[place:]
        if not content:
            break
    suffix = {'m': '.mcap', 'd': '.db3', 'r': '.bag'}[kind[0]]
    path = factory.getbasetemp() / f'spoilt{suffix}'
    path.write_bytes(content)
    try:
        with open_bag(path) as bag:
            for message in bag.messages():
                assert isinstance(message.topic, str)
    except BagError as error:
        assert str(path) in str(error)


def records(data: bytes | bytearray) -> list[tuple[int, int, int]]:
    """Return (op, start, end) of the contents of all records of an MCAP file."""
    found, at = [], len(MAGIC)
    while at < len(data) - len(MAGIC):
        op, length = struct.unpack_from('<BQ', data, at)
        found.append((op, at + 9, at + 9 + length))
        at += 9 + length
    return found


def _without_chunks(data: bytes) -> bytes:
    """Return an MCAP file whose messages lie in it as they come, without chunks or an index."""
    parts = [MAGIC]
    for op, start, end in records(data):
        if op == 0x01:
            parts.append(data[start - 9 : end])
        elif op == _CHUNK:
            size = struct.unpack_from('<I', data, start + 28)[0]
            parts.append(data[start + 32 + size + 8 : end])
    footer = struct.pack('<BQQQI', 0x02, 20, 0, 0, 0)
    return b''.join([*parts, struct.pack('<BQI', 0x0F, 4, 0), footer, MAGIC])

