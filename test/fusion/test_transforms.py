"""The tree of frames against brute force, and against publishers that contradict each other."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from perception_ros.core.errors import ExtrapolationError, TransformError
from perception_ros.core.poses import between, inverse, Matrix, pose
from perception_ros.fusion.transforms import TransformTree

MS = 1_000_000
S = 1000 * MS
STEP = 20 * MS


def random_pose(seed: object) -> Matrix:
    random = np.random.default_rng(abs(hash(seed)))
    return pose(random.uniform(-5, 5, 3).tolist(), random.normal(size=4).tolist())


def at(x_m: float) -> Matrix:
    return pose((x_m, 0, 0), (0, 0, 0, 1))


@st.composite
def shapes(draw: st.DrawFn) -> tuple[list[int], list[bool]]:
    """Draw a tree: the parent of each frame but the first, and which of them are static."""
    count = draw(st.integers(2, 9))
    parents = [draw(st.integers(0, child - 1)) for child in range(1, count)]
    return parents, [draw(st.booleans()) for _ in parents]


def world_from(
    frame: int, parents: list[int], static: list[bool], seed: int, stamp: int
) -> Matrix:
    """Return the place of a frame in frame 0, multiplied upwards, between two stamps."""
    matrix = np.eye(4)
    while frame:
        if static[frame - 1]:
            link = random_pose((seed, frame))
        else:
            before, rest = divmod(stamp, STEP)
            link = between(
                random_pose((seed, frame, before)), random_pose((seed, frame, before + 1)),
                rest / STEP,
            )
        matrix = link @ matrix
        frame = parents[frame - 1]
    return matrix


@given(shapes(), st.integers(0, 1000), st.integers(0, 9 * STEP), st.integers(0, 9 * STEP),
       st.data())
@settings(max_examples=150, deadline=None)
def test_any_two_frames_at_any_times(
    shape: tuple[list[int], list[bool]], seed: int, stamp: int, later: int, data: st.DataObject
) -> None:
    """Whatever the order in which transforms came."""
    parents, static = shape
    count = len(parents) + 1
    said = [
        (parent, child, step)
        for child, parent in enumerate(parents, 1)
        for step in (range(1) if static[child - 1] else range(11))
    ]
    tree = TransformTree()
    for parent, child, step in data.draw(st.permutations(said)):
        key = (seed, child) if static[child - 1] else (seed, child, step)
        tree.add(f'f{parent}', f'f{child}', step * STEP, random_pose(key), static[child - 1])
    assert tree.frames == [f'f{i}' for i in range(count)]
    target, source = data.draw(st.tuples(*[st.integers(0, count - 1)] * 2))
    seen_from = inverse(world_from(target, parents, static, seed, later))
    at_once = seen_from @ world_from(source, parents, static, seed, later)
    assert np.allclose(tree.lookup(f'f{target}', f'f{source}', later), at_once, atol=1e-6)
    moved = seen_from @ world_from(source, parents, static, seed, stamp)
    assert np.allclose(
        tree.lookup_between(f'f{target}', later, f'f{source}', stamp, 'f0'), moved, atol=1e-6)


def test_the_vehicle_s_motion_between_lidar_and_camera() -> None:
    """At 20 m/s and 50 ms later a parked car is a metre nearer."""
    tree = TransformTree()
    tree.add('odom', 'base_link', 0, at(0))
    tree.add('odom', 'base_link', 100 * MS, at(2))
    tree.add('base_link', 'camera', 0, at(1.5), is_static=True)
    tree.add('base_link', 'lidar', 0, at(1.0), is_static=True)
    moved = tree.lookup_between('camera', 75 * MS, 'lidar', 25 * MS, 'odom')
    assert moved @ (10, 0, 0, 1) == pytest.approx((8.5, 0, 0, 1))
    assert tree.lookup('camera', 'lidar') @ (10, 0, 0, 1) == pytest.approx((9.5, 0, 0, 1))
    assert tree.newest_ns('camera', 'lidar') is None
    assert tree.newest_ns('camera', 'odom') == 100 * MS
    assert tree.lookup('odom', 'base_link')[0, 3] == 2


@pytest.mark.parametrize(('stamp', 'ahead_ms', 'said'), [
    (1400, 350, "'odom' -> 'base' is known of 50.0 ms, .* 350.0 ms after the newest.* wait for"),
    (900, -100, '100.0 ms before the oldest of them; remember for longer'),
])
def test_a_time_of_which_nothing_is_known(stamp: int, ahead_ms: int, said: str) -> None:
    """With how far it is off: what is a few ms ahead will soon be known."""
    tree = TransformTree()
    for ms in (1000, 1050):
        tree.add('odom', 'base', ms * MS, at(0))
    tree.add('base', 'lidar', 0, at(0), is_static=True)
    with pytest.raises(ExtrapolationError, match=said) as error:
        tree.lookup('odom', 'lidar', stamp * MS)
    assert error.value.ahead_ns == ahead_ms * MS


@pytest.mark.parametrize('every_ms', [5, 20, 100, 400])
def test_what_is_ahead_goes_on_and_turns_as_before(every_ms: int) -> None:
    """On a circle of 20 m at 10 m/s, half a second after the last odometry, whatever its rate."""
    tree = TransformTree()
    for ms in range(800, -1, -every_ms):  # the newest first: they come in any order
        tree.add('odom', 'base', ms * MS, on_circle(ms))
    tree.add('base', 'lidar', 0, at(1), is_static=True)
    with pytest.raises(ExtrapolationError):
        tree.lookup('odom', 'lidar', 1300 * MS, 499 * MS)
    found = tree.lookup('odom', 'lidar', 1300 * MS, 500 * MS)
    np.testing.assert_allclose(found, on_circle(1300) @ at(1), atol=0.1)
    there = tree.lookup_between('lidar', 1300 * MS, 'lidar', 1200 * MS, 'odom', 500 * MS)
    expected = inverse(on_circle(1300) @ at(1)) @ on_circle(1200) @ at(1)
    np.testing.assert_allclose(there, expected, atol=0.1)


@pytest.mark.parametrize('speed_m_s', [0.0, 10.0, 30.0])
@pytest.mark.parametrize('jump_m', [(0.5, 0), (0, 3), (-3, 0), (0.3, -0.5)])
@pytest.mark.parametrize('steps', [1, 2], ids=['at once', 'in two steps'])
@pytest.mark.parametrize('every_ms', [10, 20, 100])
@pytest.mark.parametrize('since_ms', [0, 40, 90, 150, 300])
def test_a_jump_is_no_speed(
    speed_m_s: float, jump_m: tuple[float, float], steps: int, every_ms: int, since_ms: int
) -> None:
    """Localisation sets a frame right: what stands stays, what drives goes on from there."""
    tree = TransformTree()
    for ms in range(0, 1001, every_ms):
        share = np.clip((ms - (1000 - since_ms)) // every_ms + 1, 0, steps) / steps
        matrix = at(speed_m_s * ms / 1000 + share * jump_m[0])
        matrix[1, 3] = share * jump_m[1]
        tree.add('odom', 'base', ms * MS, matrix)
    newest = tree.lookup('odom', 'base', 1000 * MS)
    found = tree.lookup('odom', 'base', 1500 * MS, 500 * MS)
    gone_m = found[:2, 3] - newest[:2, 3]
    np.testing.assert_allclose(gone_m, [speed_m_s * 0.5, 0], atol=1e-6)


def test_a_turn_at_once_is_no_turning() -> None:
    """Ten degrees: the vehicle goes on straight, in its new direction."""
    tree, turned = TransformTree(), pose((0, 0, 0), (0, 0, np.sin(0.0875), np.cos(0.0875)))
    for ms in range(0, 1001, 20):
        tree.add('odom', 'base', ms * MS, at(ms / 100) @ (turned if ms == 1000 else np.eye(4)))
    found = tree.lookup('odom', 'base', 1500 * MS, 500 * MS)
    np.testing.assert_allclose(found, at(10) @ turned @ at(5), atol=1e-6)


def test_poses_that_contradict_each_other_tell_no_motion() -> None:
    tree, random = TransformTree(), np.random.default_rng(0)
    for ms in range(0, 1001, 100):
        tree.add('odom', 'base', ms * MS, at(random.uniform(-50, 50)))
    newest = tree.lookup('odom', 'base', 1000 * MS)
    np.testing.assert_allclose(tree.lookup('odom', 'base', 1500 * MS, 500 * MS), newest)


def test_poses_that_are_a_little_off_tell_a_motion() -> None:
    """Of a localisation that is right to 2 cm and a tenth of a degree."""
    for seed in range(20):
        tree, random = TransformTree(), np.random.default_rng(seed)
        for ms in range(0, 1001, 20):
            half = random.normal(0, 0.1) * np.pi / 360
            off = pose(random.normal(0, 0.02, 3).tolist(), (0, 0, np.sin(half), np.cos(half)))
            tree.add('odom', 'base', ms * MS, on_circle(ms) @ off)
        found = tree.lookup('odom', 'base', 1200 * MS, 200 * MS)
        np.testing.assert_allclose(found[:2, 3], on_circle(1200)[:2, 3], atol=0.3)


def test_a_vehicle_that_brakes_or_starts_is_not_thrown_far() -> None:
    """4 m/s² from 10 m/s, and from a stand; a fifth of a second ahead."""
    for start, pull in ((10.0, -4.0), (0.0, 4.0)):
        tree = TransformTree()

        def place(ms: float, start: float = start, pull: float = pull) -> float:
            second = ms / 1000
            return start * second + pull * second**2 / 2

        for ms in range(0, 1001, 20):
            tree.add('odom', 'base', ms * MS, at(place(ms)))
        found = tree.lookup('odom', 'base', 1200 * MS, 200 * MS)[0, 3]
        assert found == pytest.approx(place(1200), abs=0.15)


def on_circle(ms: float) -> Matrix:
    """Return where a vehicle is that turns by half a radian a second at 10 m/s."""
    angle = 0.5 * ms / 1000
    turned = np.eye(4)
    turned[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    turned[:2, 3] = 20 * np.sin(angle), 20 * (1 - np.cos(angle))
    return turned


def test_of_one_pose_nobody_knows_a_motion() -> None:
    tree = TransformTree()
    tree.add('odom', 'base', S, at(3))
    assert tree.lookup('odom', 'base', S + 10 * MS, 20 * MS)[0, 3] == 3
    with pytest.raises(ExtrapolationError, match='before the oldest'):
        tree.lookup('odom', 'base', S - 10 * MS, 20 * MS)


def test_it_forgets_what_is_long_ago() -> None:
    """A vehicle drives for a day."""
    tree = TransformTree(history_ns=S)
    for step in range(500):
        tree.add('odom', 'base', step * 10 * MS, at(step))
    assert tree.lookup('odom', 'base', 3990 * MS)[0, 3] == 399
    with pytest.raises(ExtrapolationError, match='before the oldest'):
        tree.lookup('odom', 'base', 3980 * MS)


def test_a_clock_that_was_set_back_starts_afresh() -> None:
    """A bag that loops: what was at these times before is of another turn."""
    tree = TransformTree()
    for ms in range(0, 3000, 10):
        tree.add('odom', 'base', ms * MS, at(1))
    tree.add('odom', 'base', 0, at(4))
    tree.add('odom', 'base', 1, at(5))
    with pytest.raises(ExtrapolationError, match='10.0 ms after the newest'):
        tree.lookup('odom', 'base', 10 * MS + 1)
    tree.add('odom', 'base', 10 * MS, at(5))
    assert tree.lookup('odom', 'base', 10 * MS)[0, 3] == 5
    tree.add('odom', 'base', 5 * MS, at(7))  # a little late is only late
    assert tree.lookup('odom', 'base', 5 * MS)[0, 3] == 7
    assert tree.lookup('odom', 'base')[0, 3] == 5


def test_one_message_of_long_ago_costs_nothing() -> None:
    """It was kept back on its way; a clock that is set back says so again and again."""
    tree = TransformTree()
    for ms in range(0, 3000, 10):
        tree.add('odom', 'base', ms * MS, at(1))
        if ms % 500 == 0:
            tree.add('odom', 'base', (ms - 1200) * MS, at(7))
    for ms in (0, 1300, 2990):
        assert tree.lookup('odom', 'base', ms * MS)[0, 3] == 1


def test_what_a_frame_is_fixed_to() -> None:
    tree = TransformTree()
    tree.add('odom', 'base_link', 0, at(0))
    tree.add('base_link', 'roof', 0, at(0), is_static=True)
    tree.add('roof', 'lidar', 0, at(0), is_static=True)
    assert tree.base('/lidar') == tree.base('base_link') == 'base_link'
    assert tree.base('odom') == 'odom'
    assert tree.base('nobody knows it') == 'nobody knows it'


def test_said_twice_the_last_word_counts() -> None:
    tree = TransformTree()
    for x in (1.0, 2.0):
        tree.add('base', 'lidar', 0, at(x), is_static=True)
        tree.add('odom', 'base', 7, at(x))
    assert tree.lookup('odom', 'lidar', 7)[0, 3] == 4


def test_what_was_given_is_copied() -> None:
    """Whoever reads messages uses his matrix again."""
    tree, matrix = TransformTree(), at(1)
    tree.add('base', 'lidar', 0, matrix, is_static=True)
    matrix[:] = 0
    assert tree.lookup('base', 'lidar')[0, 3] == 1


@pytest.mark.parametrize(('parent', 'child', 'matrix', 'said'), [
    ('lidar', 'map', at(0),
     "'lidar' -> 'map', which closes the loop map -> odom -> base -> lidar -> map; let"),
    ('base', 'base', at(0), "got 'base' below itself"),
    ('/base', 'base', at(0), "got 'base' below itself"),
    ('', 'base', at(0), 'names of frames'),
    ('map', 'lidar', at(0), "one parent for 'lidar', got 'map' beside 'base'"),
    ('map', 'base', at(0), "one parent for 'base', got 'map' beside 'odom'"),
    ('map', 'new', at(np.nan), 'not finite'),
    ('map', 'new', at(np.inf), 'not finite'),
    ('map', 'new', np.diag([2.0, 1, 1, 1]), "as 'map' -> 'new', got what also stretches"),
    ('map', 'new', np.diag([1.0, 1, -1, 1]), 'mirrors'),
], ids=['loop', 'self', 'slash', 'empty', 'two static', 'two moving', 'nan', 'inf', 'scale',
        'mirror'])
def test_what_contradicts_the_tree_is_refused_and_changes_nothing(
    parent: str, child: str, matrix: Matrix, said: str
) -> None:
    tree = TransformTree()
    tree.add('map', 'odom', 0, at(1), is_static=True)
    tree.add('odom', 'base', 0, at(1))
    tree.add('base', 'lidar', 0, at(1), is_static=True)
    with pytest.raises(TransformError, match=said):
        tree.add(parent, child, 0, matrix)
    assert tree.frames == ['base', 'lidar', 'map', 'odom']
    assert tree.lookup('map', 'lidar', 0)[0, 3] == 3


def test_a_frame_may_move_to_another_parent_when_the_old_one_is_silent() -> None:
    """A localisation that was restarted under another name."""
    tree = TransformTree(history_ns=S)
    tree.add('odom', 'base', 0, at(1))
    tree.add('map', 'base', 2 * S, at(2))
    assert tree.parent('base') == 'map'
    assert tree.lookup('map', 'base', 2 * S)[0, 3] == 2


@pytest.mark.parametrize(('target', 'source', 'said'), [
    ('base', 'lidra', "got 'lidra'; did you mean lidar"),
    ('front_optical', 'base', "'front_optical' hangs below 'front' and 'base' below 'odom'"),
    ('xyz', 'base', 'known are base, front, front_optical, lidar, odom'),
])
def test_frames_that_are_not_known_or_not_connected(target: str, source: str, said: str) -> None:
    tree = TransformTree()
    tree.add('odom', 'base', 0, at(1))
    tree.add('base', 'lidar', 0, at(1), is_static=True)
    tree.add('front', 'front_optical', 0, at(1), is_static=True)
    with pytest.raises(TransformError, match=said):
        tree.lookup(target, source, 0)
    with pytest.raises(TransformError, match='none is known yet'):
        TransformTree().lookup(target, source)


def test_what_is_filled_in_gives_way_to_what_is_published() -> None:
    """Whichever comes first: /tf after the file is the rule."""
    tree = TransformTree()
    assert tree.fill('base', 'optical', at(3))
    assert not tree.fill('base', 'optical', at(4))
    assert tree.lookup('base', 'optical')[0, 3] == 3
    tree.add('camera', 'optical', 0, at(1), is_static=True)  # a driver with a frame of its own
    assert tree.frames == ['camera', 'optical']
    assert tree.fill('base', 'optical', at(3))
    assert tree.lookup('base', 'optical')[0, 3] == 3
    assert tree.lookup('base', 'camera')[0, 3] == 2
    tree.add('base', 'camera', 0, at(5), is_static=True)
    assert tree.lookup('base', 'optical')[0, 3] == 6


def test_a_published_way_that_would_close_a_loop_opens_the_filled_one() -> None:
    """A driver that puts the vehicle below its camera."""
    tree = TransformTree()
    tree.fill('base', 'optical', at(3))
    tree.add('optical', 'base', 0, at(-2), is_static=True)
    assert tree.lookup('base', 'optical')[0, 3] == 2


def test_a_frame_that_moves_in_a_tree_of_its_own_cannot_be_tied_by_a_file() -> None:
    tree = TransformTree()
    tree.add('mast', 'optical', 0, at(1))
    with pytest.raises(TransformError, match="fixed to 'mast', got 'optical', which moves"):
        tree.fill('base', 'optical', at(3))


FRAMES = st.sampled_from(['a', 'b', 'c', 'd', 'e'])
ADD = st.tuples(
    st.just('add'), FRAMES, FRAMES, st.integers(0, 3000), st.booleans(),
    st.sampled_from([at(0), at(1), at(np.nan), np.zeros((4, 4))]),
)
FILL = st.tuples(st.just('fill'), FRAMES, FRAMES, st.sampled_from([at(2), at(np.inf)]))
LOOKUP = st.tuples(st.just('lookup'), FRAMES, FRAMES, st.integers(-100, 4000) | st.none())


@given(st.lists(ADD | FILL | LOOKUP, max_size=40))
@settings(max_examples=300, deadline=None)
def test_whatever_is_published_it_stays_a_tree(steps: list[tuple[Any, ...]]) -> None:
    """Every history ends in answers or reasons; what was refused has changed nothing."""
    tree = TransformTree(history_ns=S)
    for kind, parent, child, *rest in steps:
        before = {frame: tree.parent(frame) for frame in 'abcde'}
        try:
            if kind == 'add':
                stamp_ms, is_static, matrix = rest
                tree.add(parent, child, stamp_ms * MS, matrix, is_static)
                assert tree.parent(child) == parent
            elif kind == 'fill':
                tree.fill(parent, child, rest[0])
                assert tree.root(parent) == tree.root(child)
            else:
                stamp_ns = None if rest[0] is None else rest[0] * MS
                there = tree.lookup(parent, child, stamp_ns)
                back = tree.lookup(child, parent, stamp_ns)
                assert np.allclose(there @ back, np.eye(4))
        except TransformError:
            assert before == {frame: tree.parent(frame) for frame in 'abcde'}
        for frame in 'abcde':
            assert tree.parent(tree.root(frame)) is None  # it ends: no loop


def test_a_static_transform_never_takes_a_moving_frame_over() -> None:
    """It is often stamped 0: by its age alone the moving one would seem silent for years."""
    tree = TransformTree(history_ns=S)
    tree.add('odom', 'base', 1000 * S, at(1))
    with pytest.raises(TransformError, match="one parent for 'base'"):
        tree.add('map', 'base', 0, at(2), is_static=True)
    tree.add('odom', 'base', 1001 * S, at(3))
    assert tree.lookup('odom', 'base', 1001 * S)[0, 3] == 3
