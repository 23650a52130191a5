"""Many bags, each with a run folder of its own, gone through by a crew.

A share is a span of parts of one bag. It does not matter who does it, when, and whether twice: a
part comes into its folder whole, and once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
import math
from pathlib import Path
from typing import NamedTuple

from perception_ros.core.errors import PerceptionError, ReplayError
from perception_ros.replay.crew import Crew, SHARES
from perception_ros.replay.job import Tell
from perception_ros.replay.options import ReplayOptions
from perception_ros.replay.parts import is_run, Span, split
from perception_ros.replay.run import open_replay, play
from perception_ros.replay.tables import join_runs, SCHEMAS


class Share(NamedTuple):
    """What one worker does at a time."""

    options: ReplayOptions
    span: Span


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it."""

    runs: Mapping[Path, Path]
    """Bag -> folder of its finished run."""
    failed: Mapping[Path, PerceptionError]
    """Bags that could not be replayed to their end."""


def play_all(
    options: ReplayOptions, bags: Sequence[Path], crew: Crew, tell: Tell = lambda share: None
) -> Outcome:
    """Play one bag into `options.output`, or several into folders of their names in it.

    The tables are those of one process that goes through one bag after the other.

    :param options: of all bags; its own bag does not count.
    :param tell: is told which share of all that is to be done is done.
    :raises PerceptionError: the only bag cannot be replayed, or nobody is there to do it.
    """
    folders = _folders(bags, options.output)
    every = {
        bag: replace(options, bag=bag, output=folder) for bag, folder in folders.items()
    }
    failed = _alone(every, tell) if crew.is_alone else _together(every, crew, tell)
    if len(bags) == 1 and failed:
        raise failed[bags[0]]
    runs = {bag: folder for bag, folder in folders.items() if bag not in failed}
    if len(bags) > 1 and runs:
        for table in SCHEMAS:
            names = {folder.name: folder / f'{table}.parquet' for folder in runs.values()}
            join_runs(names, table, options.output / f'{table}.parquet')
    return Outcome(runs, failed)


def go(share: Share) -> None:
    """Do a share.

    :raises PerceptionError: something cannot be opened or written.
    """
    with open_replay(share.options) as replay:
        replay.go(share.span)


def _alone(every: Mapping[Path, ReplayOptions], tell: Tell) -> dict[Path, PerceptionError]:
    """Play one bag after the other; return what went wrong with which."""
    failed = {}
    for number, (bag, options) in enumerate(every.items()):
        try:
            play(options, partial(_tell_of_all, tell, number, len(every)))
        except PerceptionError as error:
            failed[bag] = error
    return failed


def _tell_of_all(tell: Tell, done: int, bags: int, share: float) -> None:
    tell((done + share) / bags)


def _together(
    every: Mapping[Path, ReplayOptions], crew: Crew, tell: Tell
) -> dict[Path, PerceptionError]:
    """Share the bags out; return what went wrong with which."""
    failed: dict[Path, PerceptionError] = {}
    with crew.at_work() as team:
        spans: dict[Path, list[Span]] = {}
        parts: dict[Path, int] = {}
        for bag, options in every.items():
            try:
                with open_replay(options) as replay:
                    spans[bag], parts[bag] = replay.begin(), replay.expected_parts
            except PerceptionError as error:
                failed[bag] = error
        most = math.ceil(sum(parts.values()) / (SHARES * team.workers)) or 1
        shares = [
            Share(every[bag], span)
            for bag, found in spans.items() for span in split(found, parts[bag], most)
        ]
        for number, (share, problem) in enumerate(team.spread(go, shares), 1):
            if problem:
                failed.setdefault(share.options.bag, problem)
            tell(number / len(shares))
        whole = [options for bag, options in every.items() if bag not in failed]
        for options, problem in team.spread(_join, whole):
            if problem:
                failed[options.bag] = problem
    return failed


def _folders(bags: Sequence[Path], output: Path) -> dict[Path, Path]:
    """Return where the run of each bag lies."""
    if len(bags) == 1:
        return {bags[0]: output}
    if is_run(output):
        raise ReplayError(
            f'{output} holds the run of one bag: name another place for those of several'
        )
    names = [bag.stem for bag in bags]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ReplayError(
            f'expected bags of different names, got several called {", ".join(twice)}'
        )
    return {bag: output / name for bag, name in zip(bags, names, strict=True)}


def _join(options: ReplayOptions) -> None:
    with open_replay(options) as replay:
        replay.join()
