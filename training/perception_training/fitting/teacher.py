"""Teachers: another network, or any bundle, that says what it sees in the same views."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
import contextlib
import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from perception_ros.bundles import Bundle
from perception_training.config import Config
from perception_training.config.compress import DistilConfig
from perception_training.data.sample import NO_BOX, to_input, UNKNOWN_BOX
from perception_training.errors import TrainingError
from perception_training.fitting import checkpoint
from perception_training.fitting.transfer import built
from perception_training.losses.distil import soft_one_hot, Taught
from perception_training.measuring.predict import bundle_predictor, Prediction, Predictor
from perception_training.models import BOXES, Network, SemanticTask
from perception_training.models.composed import Composed
from perception_training.models.heads import BoxHead


class Teacher(ABC):
    """Says what it sees; it learns nothing."""

    @abstractmethod
    def __call__(self, images: Tensor) -> Taught:
        """Look at uint8 `[B, H, W, 3]` RGB."""


@contextlib.contextmanager
def opened(config: Config, student: Network, device: torch.device) -> Iterator[Teacher | None]:
    """
    Open the teacher of a run, if it has one.

    :param student: as it is before training.
    :raises TrainingError: the teacher knows nothing that the student could learn.
    """
    distil = config.distil
    if distil is None:
        yield None
    elif distil.teacher == 'start':
        if not student.pretrained:
            raise TrainingError('distil.teacher start: expected a network that starts from other '
                                'weights; set fit.start.checkpoint, or another teacher')
        yield NetworkTeacher(copy.deepcopy(student), student, 'start')
    elif distil.teacher.is_dir():
        with bundle_predictor(distil.teacher, config.fit.threads or 0) as predict:
            yield BundleTeacher(distil.teacher, predict, student, distil)
    else:
        state, theirs = checkpoint.read(distil.teacher)
        teacher = built(distil.teacher, state, theirs).to(device)
        yield NetworkTeacher(teacher, student, str(distil.teacher))


class NetworkTeacher(Teacher):
    """A network in torch: logits, and boxes and scores of all anchors."""

    def __init__(self, network: Network, student: Network, name: str) -> None:
        """
        Compare the classes.

        :param name: names it in errors.
        :raises TrainingError: they do not fit, or boxes are not counted from the same anchors.
        """
        self._network = network.eval().requires_grad_(False)
        classes = {head: task.classes for head, task in network.tasks.items()}
        shared = _shared(classes, student, name)
        self._anchored = BOXES in shared
        if self._anchored and not (_anchored(network) and _anchored(student)):
            raise TrainingError(f'{name}: expected boxes that are counted from anchors, and '
                                'suppressed, in teacher and student; export the teacher, and take '
                                'its bundle')
        self._rows = {head: [classes[head].index(n) for n in names]
                      for head, names in shared.items()}
        self._places = _places(shared, student)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Taught:
        x = to_input(images).contiguous(memory_format=torch.channels_last)
        said = self._network.answers(self._network(x))
        semantic = {head: said[head].float()[:, rows] for head, rows in self._rows.items()
                    if head != BOXES}
        anchors = (said[BOXES].float(), said['scores'].float()[..., self._rows[BOXES]]) \
            if self._anchored else None
        return Taught(semantic, _on(self._places, images.device), anchors)


class BundleTeacher(Teacher):
    """A bundle as a vehicle runs it: class ids, and boxes that it chose."""

    def __init__(self, path: Path, predict: Predictor, student: Network,
                 config: DistilConfig) -> None:
        """
        Compare the classes.

        :raises TrainingError: they do not fit.
        """
        manifest = Bundle.load(path).manifest
        self._predict, self._score = predict, config.score
        classes = {head: tuple(c.name for c in info.classes)
                   for head, info in manifest.semantic.items()}
        if manifest.detection is not None:
            classes[BOXES] = tuple(c.name for c in manifest.detection.classes)
        shared = _shared(classes, student, str(path))
        self._places = _places(shared, student)
        # The bundle's ids -> places among the shared classes, and of boxes the student's labels.
        self._ids = {head: _table(classes[head], names) for head, names in shared.items()
                     if head != BOXES}
        self._labels = None
        if BOXES in shared:
            ours = student.tasks[BOXES].classes
            self._labels = np.array([ours.index(n) if n in ours else NO_BOX
                                     for n in classes[BOXES]])

    def __call__(self, images: Tensor) -> Taught:
        said = [self._predict(image) for image in images.cpu().numpy()]
        semantic = {}
        for head, table in self._ids.items():
            ids = torch.from_numpy(np.stack([table[s.semantic[head]] for s in said]))
            semantic[head] = soft_one_hot(ids, len(self._places[head])).to(images.device)
        boxes = self._chosen(said, images.device) if self._labels is not None else None
        return Taught(semantic, _on(self._places, images.device), boxes=boxes)

    def _chosen(self, said: Sequence[Prediction], device: torch.device) -> tuple[Tensor, Tensor]:
        assert self._labels is not None
        most = max(len(s.boxes) for s in said)
        boxes = torch.zeros(len(said), most, 4)
        labels = torch.full((len(said), most), NO_BOX)
        for i, found in enumerate(said):
            ours = self._labels[found.labels]
            # What it is not sure of is neither an object nor background.
            ours = np.where((ours >= 0) & (found.scores < self._score), UNKNOWN_BOX, ours)
            boxes[i, :len(ours)] = torch.from_numpy(found.boxes)
            labels[i, :len(ours)] = torch.from_numpy(ours)
        return boxes.to(device), labels.to(device)


def _shared(classes: dict[str, tuple[str, ...]], student: Network,
            name: str) -> dict[str, tuple[str, ...]]:
    """
    Give the teacher's classes that the student has, for each head of the same name and kind.

    Of boxes some are enough. Classes of label maps exclude each other: a teacher's class that the
    student lacks would be taught as some other one.
    """
    shared: dict[str, tuple[str, ...]] = {}
    for head, task in student.tasks.items():
        theirs = classes.get(head, ())
        common = tuple(n for n in theirs if n in task.classes)
        if isinstance(task, SemanticTask) and theirs and common != theirs:
            raise TrainingError(
                f'{name}: head {head!r}: expected a teacher of some of {list(task.classes)}, got '
                f'one that also knows {sorted(set(theirs) - set(common))}; add them to '
                f'labels.semantic.{head}, or take another teacher')
        if common:
            shared[head] = common
    if not shared:
        ours = {head: list(task.classes) for head, task in student.tasks.items()}
        raise TrainingError(
            f'{name}: expected a teacher with some head and classes of {ours}, got '
            f'{ {head: list(names[:12]) for head, names in classes.items()} }')
    return shared


def _anchored(network: Network) -> bool:
    return isinstance(network, Composed) and isinstance(network.heads[BOXES], BoxHead)


def _places(shared: dict[str, tuple[str, ...]], student: Network) -> dict[str, Tensor]:
    return {head: torch.tensor([student.tasks[head].classes.index(n) for n in names])
            for head, names in shared.items()}


def _table(theirs: tuple[str, ...], shared: tuple[str, ...]) -> np.ndarray:
    """Give a bundle's 256 possible ids as places among shared classes; others lie behind them."""
    table = np.full(256, len(shared), np.uint8)
    table[:len(theirs)] = [shared.index(n) for n in theirs]
    return table


def _on(places: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {head: place.to(device) for head, place in places.items()}
