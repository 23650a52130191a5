"""Faults let loose on a real bag: what comes, what is told of it, and that it repeats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.bags import messages
from perception_ros.bags.bag import Bag, Message, open_bag
from perception_ros.bags.frames import image_topics
from perception_ros.bags.messages import IMAGE
from perception_ros.bags.types import standard
from perception_ros.bags.writer import BagWriter
from perception_ros.core.errors import ConfigError, ImageError
from perception_ros.core.image import Image, RAW_ENCODINGS
from perception_ros.faults import pictures
from perception_ros.faults.inject import ADDED, CHANGED, Injector, REMOVED, Touch
from perception_ros.faults.plan import FaultPlan, KINDS
from perception_ros.ros.cdr import read_compressed_image, read_header, read_image
from test.bags.build import MAKERS, two_cameras
from test.builders import MS, picture
from test.faults.build import (
    CAMERAS,
    FRONT,
    plan,
    POINTS,
    REAR,
    REAR_INFO,
    small_bag,
    START_NS,
    TF,
)
from test.replay.drawn import drawn_bag

SETTINGS: dict[str, dict[str, Any]] = {
    'delay': {'by_ms': 150}, 'jitter': {'max_ms': 250}, 'reorder': {'by_ms': 150, 'to_s': 50},
    'duplicate': {'after_ms': 30}, 'skew': {'offset_ms': 50}, 'jump': {'by_s': -0.45},
}
"""What a kind cannot do without, or is dull without."""


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bag]:
    with open_bag(small_bag(tmp_path_factory.mktemp('bags') / 'small.mcap')) as opened:
        yield opened


def came(
    bag: Bag, faults: FaultPlan, *span: int | None
) -> tuple[list[Message], list[Touch]]:
    touches: list[Touch] = []
    injector = Injector(faults, bag, image_topics(bag))
    found = list(injector.messages(None, *(span or (None, None)), touches.append))
    return [message._replace(data=bytes(message.data)) for message in found], touches


def all_of(bag: Bag) -> list[Message]:
    return [message._replace(data=bytes(message.data)) for message in bag.messages()]


@st.composite
def faults(draw: st.DrawFn) -> dict[str, Any]:
    kind = draw(st.sampled_from(KINDS))
    found: dict[str, Any] = {
        'kind': kind, 'seed': draw(st.integers(0, 5)),
        'from_s': draw(st.sampled_from((0.0, 0.3, 0.95))), **SETTINGS.get(kind, {}),
    }
    how = draw(st.sampled_from(('window', 'now and then', 'by chance', 'spans by chance')))
    if how == 'window':
        found['to_s'] = found['from_s'] + 0.5
    elif how == 'now and then':
        found |= {'every_s': 0.7, 'for_s': 0.25}
    else:
        found |= {'probability': 0.4, 'for_s': 0.25}
    if how == 'by chance' and kind not in ('lose_camera', 'lose_lidar', 'freeze', 'skew', 'jump'):
        del found['for_s']
    if kind in ('drop', 'delay', 'jitter', 'reorder', 'duplicate'):
        found['topics'] = draw(st.sampled_from(((), (POINTS, TF))))
    return found


PLANS = st.lists(faults(), min_size=1, max_size=4).map(lambda found: plan(*found))


@settings(max_examples=60, deadline=None)
@given(found=PLANS)
def test_nothing_vanishes_and_nothing_appears_without_a_record(
    bag: Bag, found: FaultPlan
) -> None:
    """Also: messages stay in the order of time, and what no fault touched stays as it was."""
    before, (after, touches) = all_of(bag), came(bag, found)
    what = Counter(touch.what for touch in touches)
    assert len(after) == len(before) - what[REMOVED] + what[ADDED]
    assert [m.time_ns for m in after] == sorted(m.time_ns for m in after)
    touched = {(touch.topic, touch.origin_ns) for touch in touches}
    spared = [m for m in before if (m.topic, m.time_ns) not in touched]
    left = Counter(after)
    assert not Counter(spared) - left, 'a message that no fault touched is gone or another'
    assert {touch.fault for touch in touches} <= {fault.name for fault in found.faults}


@settings(max_examples=60, deadline=None)
@given(found=PLANS, cut=st.integers(0, 2000))
def test_parts_of_a_bag_are_parts_of_the_whole(bag: Bag, found: FaultPlan, cut: int) -> None:
    """So that a start and an end, or several workers, change nothing: nor what is told."""
    parts_are_the_whole(bag, found, cut)


@pytest.mark.parametrize('kind', KINDS)
def test_each_kind_looks_back_far_enough(bag: Bag, kind: str) -> None:
    found = plan({'kind': kind, 'from_s': 0.2, **SETTINGS.get(kind, {})})
    for cut in range(0, 2000, 115):
        parts_are_the_whole(bag, found, cut)


def parts_are_the_whole(bag: Bag, found: FaultPlan, cut: int) -> None:
    whole, told = came(bag, found)
    at_ns = START_NS + cut * MS
    first, second = came(bag, found, None, at_ns), came(bag, found, at_ns, None)
    assert first[0] + second[0] == whole
    assert Counter(first[1]) + Counter(second[1]) == Counter(told)


def test_the_same_again_is_the_same_and_another_seed_is_not(bag: Bag) -> None:
    first, again, other = (
        came(bag, plan({'kind': 'drop', 'probability': 0.5, 'seed': seed})) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize('kind', ['mcap-zstd', 'db3-each-message', 'ros1-lz4'])
def test_the_kind_of_bag_makes_no_difference(tmp_path: Path, kind: str) -> None:
    several = plan(
        {'kind': 'freeze', 'to_s': 1}, {'kind': 'jitter', 'max_ms': 300},
        {'kind': 'corrupt', 'how': 'bytes', 'probability': 0.5},
    )
    found = []
    for name in ('mcap', kind):
        (tmp_path / name).mkdir()
        with open_bag(MAKERS[name](tmp_path / name, two_cameras(12))) as opened:
            found.append(came(opened, several))
    assert found[0] == found[1]


def test_two_faults_of_one_kind_do_not_strike_the_same(bag: Bag) -> None:
    """Else the second would find nothing left."""
    _, touches = came(bag, plan(*2 * [{'kind': 'drop', 'probability': 0.5}]))
    assert {'drop', 'drop_2'} == {touch.fault for touch in touches}


def test_what_strikes_nothing_changes_nothing(bag: Bag) -> None:
    assert came(bag, plan({'kind': 'drop', 'from_s': 1000})) == (all_of(bag), [])


def test_only_what_is_held_back_is_in_memory(bag: Bag, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the bag is: what came in the time of the delays."""
    taken: list[Message] = []
    read = bag.messages

    def counting(*arguments: Any) -> Iterator[Message]:
        for message in read(*arguments):
            taken.append(message)
            yield message

    monkeypatch.setattr(bag, 'messages', counting)
    late = plan({'kind': 'delay', 'by_ms': 200}, {'kind': 'jitter', 'max_ms': 100})
    given_out, held = 0, []
    for _ in Injector(late, bag, CAMERAS).messages([FRONT, REAR]):
        given_out += 1
        held.append(len(taken) - given_out)
    assert given_out == len(taken) == 40
    assert 4 <= max(held) <= 8, 'two cameras of 10 Hz for 0.3 s, and those that make room'


# ------------------------------------------------------------------------------------ each kind


def one(bag: Bag, topic: str, **fault: Any) -> tuple[list[Message], list[Touch]]:
    """Return what comes on a topic."""
    arrived, touches = came(bag, plan(fault))
    return [m for m in arrived if m.topic == topic], touches


def offsets_ms(arrived: list[Message]) -> list[int]:
    return [(m.time_ns - START_NS) // MS for m in arrived]


def stamps_ms(arrived: list[Message]) -> list[int]:
    return [(read_header(m.data, m.type).stamp_ns - START_NS) // MS for m in arrived]


def test_a_window_begins_and_ends(bag: Bag) -> None:
    found, touches = one(bag, FRONT, kind='drop', cameras=['front'], from_s=0.3, to_s=0.6)
    assert offsets_ms(found)[:6] == [0, 100, 200, 600, 700, 800]
    assert [(t.what, t.camera, t.topic) for t in touches] == 3 * [(REMOVED, 'front', FRONT)]
    assert [(t.origin_ns, t.stamp_ns) for t in touches] == [
        (START_NS + i * 100 * MS,) * 2 for i in (3, 4, 5)]


def test_it_strikes_now_and_then(bag: Bag) -> None:
    found, _ = one(
        bag, FRONT, kind='drop', cameras=['front'], from_s=0.1, every_s=0.5, for_s=0.2, to_s=1.0)
    assert offsets_ms(found)[:8] == [0, 300, 400, 500, 800, 900, 1000, 1100]


def test_chance_strikes_as_often_as_it_should(bag: Bag) -> None:
    count = sum(
        len(came(bag, plan({'kind': 'drop', 'probability': 0.3, 'seed': seed}))[1])
        for seed in range(20)
    )
    assert 0.25 < count / 800 < 0.35


def test_a_delay_keeps_the_order(bag: Bag) -> None:
    """Those after the window wait behind those in it."""
    found, touches = one(
        bag, FRONT, kind='delay', by_ms=250, cameras=['front'], from_s=0.3, to_s=0.5)
    assert stamps_ms(found) == list(range(0, 2000, 100))
    assert offsets_ms(found)[:9] == [0, 100, 200, 550, 650, 650, 650, 700, 800]
    assert {t.what for t in touches} == {CHANGED}
    assert len(touches) == 4, 'two that are late, and two that wait'


def test_jitter_keeps_the_order_and_is_bounded(bag: Bag) -> None:
    found, _ = one(bag, FRONT, kind='jitter', max_ms=170)
    assert stamps_ms(found) == list(range(0, 2000, 100))
    late = [time - stamp for time, stamp in zip(offsets_ms(found), stamps_ms(found), strict=True)]
    assert all(0 <= ms <= 170 for ms in late)
    assert len(set(late)) > 15


def test_reordered_messages_are_overtaken(bag: Bag) -> None:
    found, _ = one(
        bag, FRONT, kind='reorder', by_ms=150, cameras=['front'], from_s=0.3, to_s=0.4)
    assert stamps_ms(found)[:7] == [0, 100, 200, 400, 300, 500, 600]


def test_a_duplicate_is_the_same_again(bag: Bag) -> None:
    found, touches = one(
        bag, FRONT, kind='duplicate', after_ms=20, cameras=['front'], from_s=0.3, to_s=0.4)
    assert offsets_ms(found)[:6] == [0, 100, 200, 300, 320, 400]
    assert found[3].data == found[4].data
    assert [t.what for t in touches] == [ADDED]


def test_a_frozen_camera_shows_one_picture_under_new_stamps(bag: Bag) -> None:
    arrived, touches = came(bag, plan({'kind': 'freeze', 'from_s': 0.25, 'to_s': 0.65}))
    for topic in CAMERAS:
        found = [m for m in arrived if m.topic == topic]
        assert stamps_ms(found) == list(range(0, 2000, 100))
        frozen = {bytes(m.data)[12:] for m in found[3:7]}
        assert len(frozen) == 1
        assert bytes(found[2].data)[12:] not in frozen
        assert bytes(found[7].data)[12:] not in frozen
    assert len(touches) == 6, 'the first one stays as it is'


def test_a_clock_changes_the_stamp_and_no_other_byte(bag: Bag) -> None:
    before = all_of(bag)
    arrived, touches = came(bag, plan(
        {'kind': 'skew', 'cameras': ['rear'], 'offset_ms': 50, 'drift_ppm': 1e4, 'from_s': 1.0}))
    for old, new in zip(before, arrived, strict=True):
        changed = old.topic in (REAR, REAR_INFO) and old.time_ns >= START_NS + 1000 * MS
        assert (old.data != new.data) is changed
        assert old.data[12:] == new.data[12:] and old.time_ns == new.time_ns
    [first, *_, last] = [t for t in touches if t.topic == REAR]
    assert first.stamp_ns is not None and first.was_ns is not None
    assert (first.stamp_ns - first.was_ns) / MS == pytest.approx(50.0, abs=0.03)
    assert last.stamp_ns is not None and last.was_ns is not None
    assert (last.stamp_ns - last.was_ns) / MS == pytest.approx(59.0, abs=0.05)
    assert {t.camera for t in touches} == {'rear', ''}, 'CameraInfo goes with its images'


def test_the_time_jumps_for_all_cameras(bag: Bag) -> None:
    arrived, _ = came(bag, plan({'kind': 'jump', 'by_s': -2, 'from_s': 0.5, 'to_s': 1.0}))
    for topic in (FRONT, REAR, REAR_INFO):
        stamps = stamps_ms([m for m in arrived if m.topic == topic])
        assert stamps[4:6] == [400, -1500] and stamps[9:11] == [-1100, 1000]


@pytest.mark.parametrize('topic', CAMERAS)
@pytest.mark.parametrize(('fault', 'seen'), [
    ({'kind': 'darken', 'brightness': 0.5}, lambda old, new: near(old / 2, new)),
    ({'kind': 'blind'}, lambda old, new: new.max() <= 2),
    ({'kind': 'blind', 'how': 'white'}, lambda old, new: new.min() >= 253),
    ({'kind': 'blind', 'how': 'covered', 'share': 0.34}, lambda old, new: (
        new[:, :7].mean() < 50 and near(old[:, 16:], new[:, 16:]))),
], ids=['darken', 'black', 'white', 'covered'])
def test_pictures_are_painted_over(bag: Bag, topic: str, fault: Any, seen: Any) -> None:
    kept = list(bag.messages([topic]))
    found, touches = one(bag, topic, cameras=[CAMERAS[topic]], **fault)
    assert len(touches) == len(found) == 20
    for old, new in zip(kept, found, strict=True):
        first, second = pixels(old), pixels(new)
        assert first.encoding == second.encoding
        assert seen(first.rgb().astype(float), second.rgb().astype(float))
        assert read_header(old.data, old.type) == read_header(new.data, new.type)


def near(first: Any, second: Any) -> bool:
    """Say whether two pictures are the same but for what JPEG makes of them."""
    return bool(abs(first - second).mean() < 3)


def pixels(message: Message) -> Image:
    read = read_image if message.topic == FRONT else read_compressed_image
    image = read(message.data).image
    image.validate()
    return image


@pytest.mark.parametrize('topic', CAMERAS)
@pytest.mark.parametrize('how', ['truncate', 'size'])
def test_what_is_corrupt_is_refused_by_who_reads_it(bag: Bag, topic: str, how: str) -> None:
    found, _ = one(bag, topic, kind='corrupt', how=how, cameras=[CAMERAS[topic]])
    assert len(found) == 20
    for message in found:
        with pytest.raises(ImageError):
            pixels(message).rgb()


def test_damaged_bytes_are_others_and_as_many(bag: Bag) -> None:
    found, touches = one(bag, FRONT, kind='corrupt', how='bytes', share=0.1, cameras=['front'])
    for old, new in zip(bag.messages([FRONT]), found, strict=True):
        different = np.frombuffer(old.data, np.uint8) != np.frombuffer(new.data, np.uint8)
        assert 90 < different.sum() <= 115, 'a tenth of 24x16 pixels, but for chance hits'
        assert np.ptp(np.flatnonzero(different)) <= 115, 'in a row'
    assert len(touches) == 20


def test_lidars_are_lost_without_being_named(bag: Bag) -> None:
    found, touches = one(bag, POINTS, kind='lose_lidar', from_s=0.5, to_s=1.5)
    assert len(found) == 10
    assert {(t.topic, t.camera) for t in touches} == {(POINTS, '')}


def test_a_lost_camera_takes_its_camera_info_along(bag: Bag) -> None:
    arrived, _ = came(bag, plan({'kind': 'lose_camera', 'cameras': ['rear'], 'to_s': 1}))
    count = Counter(m.topic for m in arrived)
    assert count == {FRONT: 20, REAR: 10, REAR_INFO: 10, POINTS: 20, TF: 20}


@pytest.mark.parametrize('kind', sorted(set(KINDS) - {'lose_lidar'}))
def test_damage_to_what_is_damaged_ends_nothing(tmp_path: Path, kind: str) -> None:
    path, damaged = tmp_path / 'bad.mcap', (b'', b'\0\1\0\0', bytes(9), bytes(100), b'\0\1' * 40)
    with BagWriter(path) as writer:
        for index, data in enumerate(damaged):
            writer.write_cdr(FRONT, IMAGE, START_NS + index, data)
    with open_bag(path) as opened:
        arrived, touches = came(opened, plan({'kind': kind, **SETTINGS.get(kind, {})}))
    what = Counter(touch.what for touch in touches)
    assert len(arrived) == len(damaged) - what[REMOVED] + what[ADDED]


@pytest.mark.parametrize('kind', sorted(set(KINDS) - {'lose_lidar'}))
def test_messages_of_another_type_are_left_alone_where_they_cannot_be_struck(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / 'mixed.mcap'
    with BagWriter(path) as writer:
        head = messages.header(START_NS, 'f')
        for index, made in enumerate((
            messages.label_info(head, ['red']), messages.transforms([(1, 'a', 'b', np.eye(4))]),
            messages.raw_image(head, Image.from_array(picture())),
        )):
            writer.write(FRONT, made, START_NS + index * MS)
    with open_bag(path) as opened:
        before, (after, touches) = all_of(opened), came(
            opened, plan({'kind': kind, **SETTINGS.get(kind, {})}))
    what = Counter(touch.what for touch in touches)
    assert len(after) == len(before) - what[REMOVED] + what[ADDED]
    if kind in ('corrupt', 'darken', 'blind'):
        assert after[:2] == before[:2] and after[2].data != before[2].data
    if kind in ('skew', 'jump'):
        assert [old == new for old, new in zip(before, after, strict=True)] == [False, True, False]


@pytest.mark.parametrize('encoding', RAW_ENCODINGS)
def test_raw_images_of_every_encoding_can_be_painted_over(encoding: str) -> None:
    height, width, step = 8, 12, 12 * 8
    image = Image(bytes(range(256)) * 6, encoding, width, height, step)
    made = messages.raw_image(messages.header(START_NS, 'f'), image)
    data = standard().serialize_cdr(made, IMAGE)
    before = Message(FRONT, IMAGE, START_NS, data)
    light, dark = (read_image(m.data).image for m in (before, pictures.darken(before, 0.3)))
    assert dark.encoding == (encoding if encoding in ('rgb8', 'bgr8', 'mono8') else 'rgb8')
    assert near(0.3 * light.rgb(), dark.rgb())


@pytest.mark.parametrize(('fault', 'says'), [
    ({'kind': 'drop', 'cameras': ['left']}, 'no cameras left; expected some of front, rear'),
    ({'kind': 'drop', 'topics': ['/left']}, 'no topic /left; expected some of /front/image_raw'),
    ({'kind': 'blind', 'topics': [POINTS]}, 'points has sensor_msgs/msg/PointCloud2; expected'),
    ({'kind': 'skew', 'offset_ms': 1, 'topics': [TF]}, '/tf has tf2_msgs.* start with a std_msgs'),
    ({'kind': 'lose_lidar', 'topics': [FRONT]}, 'has sensor_msgs/msg/Image; expected sensor_msgs'),
], ids=['no camera', 'no topic', 'no pictures', 'no header', 'no cloud'])
def test_what_is_not_there_cannot_be_struck(bag: Bag, fault: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Injector(plan(fault), bag, CAMERAS)


def test_a_bag_without_lidar_cannot_lose_it(tmp_path: Path) -> None:
    with open_bag(drawn_bag(tmp_path / 'b.mcap', frames=1)) as opened:
        make = partial(Injector, plan({'kind': 'lose_lidar'}), opened)
        with pytest.raises(ConfigError, match='no sensor_msgs/msg/PointCloud2; take the fault'):
            make({'/front/image_raw': 'front'})
