"""From the classes of a data set to the classes of a run."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
from numpy.typing import NDArray

from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import SourceConfig
from perception_training.data.sample import UNKNOWN, UNKNOWN_BOX
from perception_training.errors import DataError

IGNORE = 'ignore'
BACKGROUND = 'background'
OTHERS = '*'


class ClassMap:
    """
    Class ids of a set, turned into ours.

    A class whose name we have needs no entry; any other must be mapped, or be named `ignore`:
    what a set labels and we do not learn is a decision, not an accident.
    """

    def __init__(self, set_name: str, theirs: Sequence[str], ours: Sequence[str],
                 given: Mapping[str, str], background: bool = False) -> None:
        """
        Pair the names.

        :param given: name in the set, or `*` for those without a name here -> our name or
            `ignore`.
        :param background: whether a name may lead to `background` too, where objects are nothing.
        :raises DataError: a name leads nowhere.
        """
        if unknown := sorted(set(given) - {*theirs, OTHERS}):
            raise DataError(f'{set_name}: expected classes to name some of {list(theirs)}, got '
                            f'{unknown}')
        rest = given.get(OTHERS)
        targets = {name: given.get(name, rest if rest and name not in ours else name)
                   for name in theirs}
        apart = (IGNORE, BACKGROUND) if background else (IGNORE,)
        lost = {n: t for n, t in targets.items() if t not in apart and t not in ours}
        if lost:
            name, target = next(iter(lost.items()))
            close = get_close_matches(target, ours, n=1)
            hint = f' (perhaps {close[0]!r})' if close else ''
            ways = ' or '.join(f'`{name}: {way}`' for way in apart)
            raise DataError(
                f'{set_name}: class {name!r} leads to none of ours; add `{name}: <one of '
                f'{list(ours)}>`{hint} or {ways} to its classes')
        self._ids = [ours.index(t) if t in ours else UNKNOWN_BOX if t == IGNORE else None
                     for t in targets.values()]
        self._theirs = tuple(theirs)
        self._set = set_name
        self.labelled: NDArray[np.bool_] = np.array([i in self._ids for i in range(len(ours))],
                                                    np.bool_)
        """`[C]`: which of our classes the set labels."""
        table = np.full(256, UNKNOWN, np.uint8)
        table[:len(theirs)] = [UNKNOWN if i in (UNKNOWN_BOX, None) else i for i in self._ids]
        self._table = table

    def label(self, theirs: int, where: object) -> int | None:
        """
        Give our id of a box, -1 for a region that is unknown, or None for background.

        :param where: what says file and line in the error.
        :raises DataError: the set has no such class.
        """
        if not 0 <= theirs < len(self._ids):
            raise DataError(f'{where}: expected a class id from 0 to {len(self._ids) - 1} '
                            f'({", ".join(self._theirs)}), got {theirs}')
        return self._ids[theirs]

    def named(self, theirs: str, where: object) -> int | None:
        """
        Give our id of a box by the name of its class, as `label` does.

        :raises DataError: the set has no such class.
        """
        if theirs not in self._theirs:
            raise DataError(
                f'{where}: expected one of {", ".join(self._theirs)}, got {theirs!r}')
        return self._ids[self._theirs.index(theirs)]

    def ids(self, theirs: NDArray[np.uint8], void: Sequence[int], where: str) -> NDArray[np.uint8]:
        """
        Give our ids of a label map `[H, W]`.

        :param void: ids that stand for no class.
        :raises DataError: an id is neither a class nor void.
        """
        present = np.flatnonzero(np.bincount(theirs.ravel(), minlength=256))
        unknown = [int(i) for i in present if i >= len(self._ids) and i not in void]
        if unknown:
            raise DataError(
                f'{where}: expected class ids from 0 to {len(self._ids) - 1} or {list(void)}, '
                f'got {unknown}; is this a label map of {self._set}, and of ids, not of colours?')
        return self._table[theirs]


def box_map(set_name: str, theirs: Sequence[str], config: SourceConfig,
            labels: LabelsConfig) -> ClassMap | None:
    """Pair a set's classes of boxes with ours; None where no boxes are learnt."""
    if not labels.boxes:
        return None
    return ClassMap(set_name, theirs, labels.boxes, config.classes, background=True)


def pixel_map(set_name: str, theirs: Sequence[str], config: SourceConfig, labels: LabelsConfig,
              head: str) -> ClassMap | None:
    """Pair a set's classes of pixels with those of a head; None where there is no such head."""
    if head not in labels.semantic:
        return None
    return ClassMap(set_name, theirs, labels.semantic[head], config.semantic_classes)
