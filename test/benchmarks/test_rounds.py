"""Every side has its turn in every round."""

from __future__ import annotations

from perception_ros.benchmarks.rounds import interleave, Side
from perception_ros.core.errors import BenchmarkError


def sides(*names: str, order: list[str], failing: dict[str, int] | None = None) -> list[Side[str]]:
    """Return sides that note their turns; `failing`: name -> the turn in which it fails."""

    def take_turn(name: str) -> str:
        order.append(name)
        if order.count(name) == (failing or {}).get(name):
            raise BenchmarkError(f'{name} died')
        return name

    return [Side(lambda name=name: take_turn(name)) for name in names]


def test_the_first_of_a_round_is_another_one_each_time() -> None:
    order: list[str] = []
    done: list[int] = []
    interleave(sides('a', 'b', 'c', order=order), 4, done.append)
    assert ''.join(order) == 'abcbcacababc'
    assert done == [1, 2, 3, 4]


def test_one_that_fails_is_left_out_and_costs_the_others_nothing() -> None:
    order: list[str] = []
    a, b, c = sides('a', 'b', 'c', order=order, failing={'b': 2})
    interleave([a, b, c], 3)
    assert (len(a.turns), len(b.turns), len(c.turns)) == (3, 1, 3)
    assert b.problem == 'b died' and a.problem is c.problem is None


def test_one_that_never_began_is_not_asked() -> None:
    order: list[str] = []
    a, b = sides('a', 'b', order=order)
    a.problem = 'no such device'
    interleave([a, b], 2)
    assert order == ['b', 'b']
    interleave([], 2)
