"""A run in parts: what is done stays done, however the rest ends.

    OUTPUT/run.json        what is run, so that nothing else is gone on with
    OUTPUT/parts/000000/   tables and results of the first so many messages, complete
    OUTPUT/parts/engines/  on what; whoever comes first says so
    OUTPUT/parts/new.*/    what is being written

A part is written beside the others and renamed when it is whole. Parts are cut by messages and not
by time: the same bag gives the same ones, whoever makes them and in whatever order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
import json
from pathlib import Path
import shutil
import tempfile
from typing import Any, NamedTuple

from perception_ros.core.errors import ReplayError
from perception_ros.core.files import write_text
from perception_ros.replay.tables import FRAMES

PART_MESSAGES = 256
"""Images that a part takes: what an interruption costs at most."""

_RUN = 'run.json'
_PARTS = 'parts'
_NEW = 'new.'
_PART = 'part.json'
_DONE = '.parts_done'
_ENGINES = 'engines'
_AGREED = 'engines.json'


class Part(NamedTuple):
    """What is known of a part that is done."""

    folder: Path
    is_last: bool
    problems: tuple[str, ...]


class Span(NamedTuple):
    """Parts that one goes through after the other."""

    first: int
    end: int | None
    """The one after the last; None: to the end of the bag."""


def undone(parts: Mapping[int, Part]) -> list[Span]:
    """Return what lies before, between and after the parts that are done."""
    spans, next_part = [], 0
    for index in sorted(parts):
        if index > next_part:
            spans.append(Span(next_part, index))
        next_part = index + 1
    if not any(part.is_last for part in parts.values()):
        spans.append(Span(next_part, None))
    return spans


def split(spans: Iterable[Span], expected: int, most: int) -> list[Span]:
    """Cut spans into shorter ones.

    :param expected: parts of the whole bag, as far as one can know.
    :param most: parts in each, but for the last if there are more than expected.
    """
    found = []
    for span in spans:
        end = max(expected, span.first + 1) if span.end is None else span.end
        firsts = range(span.first, end, most)
        found += [Span(first, min(first + most, end)) for first in firsts]
        found[-1] = Span(found[-1].first, span.end)
    return found


def is_run(folder: Path) -> bool:
    """Say whether a folder is that of a run."""
    return (folder / _RUN).is_file()


def runs_in(folder: Path) -> dict[str, Path]:
    """Return the runs in a folder by name: '' for its own, or those of several bags.

    :raises ReplayError: it is no folder of a replay.
    """
    if is_run(folder):
        return {'': folder}
    found = {item.name: item for item in sorted(folder.glob('*/')) if is_run(item)}
    if not found:
        raise ReplayError(f'{folder}: expected the folder of a replay, it holds none')
    return found


class RunFolder:
    """The folder of a run; one process begins and ends it, several may add parts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._parts = path / _PARTS

    @property
    def is_finished(self) -> bool:
        """Whether the parts have been joined."""
        return (self.path / f'{FRAMES}.parquet').is_file() and not self._parts.exists()

    def begin(self, about: Mapping[str, Any], *, resume: bool, overwrite: bool) -> None:
        """Make the folder ready to go on with a run, or to begin it.

        :param about: all that decides about the results, ready for JSON.
        :raises ReplayError: something else lies there.
        """
        with self.writing():
            shutil.rmtree(self.path / _DONE, ignore_errors=True)
            there = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
            if there and not is_run(self.path):
                raise ReplayError(
                    f'{self.path} is there already, and no run: name another place'
                )
            if there and not resume and not overwrite:
                raise ReplayError(
                    f'{self.path} holds a run already; pass --resume to go on with it, '
                    '--overwrite to begin anew, or name another place'
                )
            if there and resume:
                self._compare(self.read_about(), about)
            elif there:
                shutil.rmtree(self.path)
            if not is_run(self.path):
                self.path.mkdir(parents=True, exist_ok=True)
                self.write_about(about)
            if not self.is_finished:
                self._parts.mkdir(exist_ok=True)
                for new in self._parts.glob(f'{_NEW}*'):
                    shutil.rmtree(new, ignore_errors=True)

    def read_about(self) -> dict[str, Any]:
        """Return what `begin` was given, and what was added since.

        :raises ReplayError: it is no run, or is damaged.
        """
        try:
            about = json.loads((self.path / _RUN).read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            raise ReplayError(f'{self.path}: expected the folder of a replay; {error}') from error
        if not isinstance(about, dict):
            raise ReplayError(f'{self.path / _RUN}: expected what a replay has written')
        return about

    def write_about(self, about: Mapping[str, Any]) -> None:
        """Write it anew."""
        with self.writing():
            write_text(self.path / _RUN, json.dumps(about, indent=2, ensure_ascii=False) + '\n')

    def parts(self) -> dict[int, Part]:
        """Return the parts that are done, in order.

        :raises ReplayError: one is damaged.
        """
        found: dict[int, Part] = {}
        for folder in sorted(self._parts.glob('[0-9]*')):
            try:
                known = json.loads((folder / _PART).read_text(encoding='utf-8'))
                found[int(folder.name)] = Part(
                    folder, known['is_last'], tuple(known['problems'])
                )
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise ReplayError(
                    f'{folder / _PART}: expected what a replay has written; {error}. Begin anew '
                    'with --overwrite'
                ) from error
        return found

    def new_part(self) -> Path:
        """Return an empty folder to write a part into."""
        with self.writing():
            return Path(tempfile.mkdtemp(dir=self._parts, prefix=_NEW))

    def add_part(self, new: Path, index: int, *, is_last: bool, problems: list[str]) -> None:
        """Keep what has been written into a new part; of two that are the same the first stays."""
        about, place = {'is_last': is_last, 'problems': problems}, self._parts / f'{index:06d}'
        with self.writing():
            write_text(new / _PART, json.dumps(about, ensure_ascii=False))
            _keep_first(new, place)  # somebody was thought to be lost, and was not

    def agree(self, engines: Mapping[str, Any]) -> Any:
        """Return the engines of the run: those of the first who says what it has."""
        new, place = self.new_part(), self._parts / _ENGINES
        with self.writing():
            write_text(new / _AGREED, json.dumps(engines, ensure_ascii=False))
            _keep_first(new, place)
        return self.agreed()

    def agreed(self) -> Any:
        """Return what was agreed on; None: nothing yet.

        :raises ReplayError: it is damaged.
        """
        path = self._parts / _ENGINES / _AGREED
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text(encoding='utf-8'))
        except (OSError, ValueError) as error:
            raise ReplayError(
                f'{path}: expected what a replay has written; {error}. Begin anew with --overwrite'
            ) from error

    def end(self) -> None:
        """Forget the parts: they have been joined."""
        with self.writing():
            self._parts.rename(self.path / _DONE)  # in one step, then in many
            shutil.rmtree(self.path / _DONE)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Raise ReplayError where something cannot be written."""
        try:
            yield
        except OSError as error:
            raise ReplayError(f'{self.path}: cannot be written; {error}') from error

    def _compare(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        for key, value in now.items():
            if before.get(key) != value:
                raise ReplayError(
                    f'{self.path} cannot be gone on with: {key}'
                    f'{_difference(before.get(key), value)}. Begin anew with --overwrite, or '
                    'name another place'
                )


def _keep_first(new: Path, place: Path) -> None:
    """Move a folder to its place in one step, unless one is there already."""
    try:
        new.rename(place)
    except OSError:
        if not place.is_dir():
            raise
        shutil.rmtree(new)


def _difference(before: Any, now: Any) -> str:
    """Say after a name in what its values differ, in their innermost parts."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ','.join(f' {key}{_difference(before.get(key), now.get(key))}' for key in keys)
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return ','.join(f' {i}{_difference(*pair)}' for i, pair in pairs if pair[0] != pair[1])
    return f' was {before!r} and is {now!r}'
