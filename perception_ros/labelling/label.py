"""Pictures through a teacher: `label` is the whole of it.

What comes of it:

    labels.json              boxes, and outlines where the teacher has masks, as COCO has them
    HEAD/labels/<name>.png   label maps beside it, one folder for each semantic head
    HEAD/classes.txt         what their values mean
    HEAD/images              leads to the pictures, where these are written
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
import json
import math
from operator import itemgetter
import os
from pathlib import Path, PurePosixPath
import shutil
import tempfile
from typing import Any

import cv2

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BagError, ConfigError, DatasetError, ImageError
from perception_ros.core.files import write_bytes, write_text
from perception_ros.core.model import Model
from perception_ros.core.types import Frame, Result
from perception_ros.labelling.coco import about, categories, objects
from perception_ros.labelling.pictures import key_of, Picture, pictures, Piece, Tell
from perception_ros.replay.crew import Crew, SHARES

ALONE = Crew()

Track = Callable[[Iterable[Any]], Iterable[Any]]
"""Hands on what it is given, perhaps with a progress bar."""


@dataclass(frozen=True, slots=True)
class LabelOptions:
    """What is labelled by whom, and where to."""

    inputs: tuple[Path, ...]
    bundle: str
    output: Path
    """The JSON file; label maps come beside it."""
    images: Path | None = None
    """Folder for the pictures themselves."""
    score_threshold: float | None = None
    """None: the bundle's."""
    classes: tuple[str, ...] = ()
    """Of boxes; all if empty."""
    every: int = 1
    """Of so many pictures of a camera, one is labelled."""
    batch: int = 1
    """Pictures in one engine call."""
    backend: str = 'auto'
    device: str = 'auto'

    def __post_init__(self) -> None:
        """Raise ConfigError where what is labelled would be written over."""
        inputs = [path.resolve() for path in self.inputs]
        for target in (self.output, *([self.images] if self.images else [])):
            for path in inputs:
                if path in (target.resolve(), *target.resolve().parents):
                    raise ConfigError(
                        f'{target} is or lies in {path}, which is to be labelled: name another '
                        'place'
                    )
        if self.images and self.images.resolve() in {p.parent for p in inputs if p.is_file()}:
            raise ConfigError(
                f'{self.images} holds what is to be labelled: name another folder for the pictures'
            )


def label(
    options: LabelOptions, tell: Tell, crew: Crew = ALONE, track: Track = iter
) -> dict[str, Any]:
    """Label pictures, and return what is to be written as COCO JSON.

    The same inputs and bundle give the same bytes where the runtime gives the same numbers,
    whoever labels what.

    :param tell: is told what is damaged and was left out.
    :param track: what the pictures are drawn through if nobody else labels any.
    :raises PerceptionError: nothing can be labelled, or two pictures have the same name.
    """
    manifest = Bundle.load(options.bundle).manifest
    kinds = categories(manifest, options.classes)
    if unknown := sorted({*options.classes} - {item['name'] for item in kinds}):
        known = [item['name'] for item in categories(manifest, ())]
        raise ConfigError(
            f'{manifest.name} has no class {", ".join(unknown)}; expected some of '
            f'{", ".join(known) or "none, for it finds no boxes"}'
        )
    with _scratch(options) as folder, crew.at_work() as team:
        shares = _shares(options, folder, 1 if crew.is_alone else SHARES * team.workers)
        task = partial(go, track=track) if crew.is_alone else go
        for _, error in team.spread(task, shares):
            if error:
                raise error
        parts = [json.loads(share.file.read_text(encoding='utf-8')) for share in shares]
    for problem in dict.fromkeys(problem for part in parts for problem in part['problems']):
        tell(problem)
    return _joined([picture for part in parts for picture in part['pictures']], {
        **about(manifest, parts[0]['engine'], options.score_threshold), 'categories': kinds,
    })


@dataclass(frozen=True, slots=True)
class Share:
    """What is labelled in one go: the pieces of some inputs, by their numbers."""

    options: LabelOptions
    inputs: tuple[int, ...]
    piece: Piece
    file: Path
    """For what comes of it."""


def go(share: Share, track: Track = iter) -> None:
    """Label a share, and write what comes of it.

    :raises PerceptionError: nothing can be labelled or written.
    """
    options, problems = share.options, dict[str, None]()
    bundle = Bundle.load(options.bundle)
    wanted = {item['id'] for item in categories(bundle.manifest, options.classes)}
    threshold = options.score_threshold
    entries = []
    engine_options = EngineOptions(max_batch=options.batch, device=options.device)
    with (
        open_engine(bundle, options.backend, engine_options) as engine,
        closing(_inputs(share, problems.setdefault)) as found,
    ):
        model = Model(
            bundle.manifest.name, bundle.manifest, engine,
            score_threshold=None if threshold is None else lambda camera: threshold,
        )
        files = _Files(options, bundle)
        for (place, picture), result in _results(model, track(found), options.batch):
            try:
                files.write(picture, result)
            except ImageError as error:
                problems.setdefault(str(error))
                continue
            image = {
                'file_name': picture.name, 'width': result.frame.image.width,
                'height': result.frame.image.height, 'license': 1,
            }
            entries.append({
                'place': place, 'image': image, 'objects': objects(result, wanted),
            })
        info = engine.info
    files.keep(share.file, {
        'pictures': entries, 'problems': list(problems),
        'engine': {
            'backend': info.backend, 'device': info.device, 'precision': info.precision,
        },
    })


Placed = tuple[tuple[int, int], Picture]
"""A picture, and its place: which input, and which of its pictures."""


def _shares(options: LabelOptions, folder: Path, least: int) -> list[Share]:
    """Share the inputs out, in pieces where there are fewer of them than shares."""
    count = len(options.inputs)
    step, pieces = max(count // least, 1), math.ceil(least / count)
    return [
        Share(
            options, tuple(range(first, min(first + step, count))), Piece(number, pieces),
            folder / f'{first}_{number}.json',
        )
        for first in range(0, count, step) for number in range(pieces)
    ]


def _inputs(share: Share, tell: Tell) -> Generator[Placed, None, None]:
    """Yield the pictures of all inputs; one that is of no use does not cost the others."""
    for number in share.inputs:
        path = share.options.inputs[number]
        try:
            for index, picture in pictures(path, share.options.every, tell, share.piece):
                yield (number, index), picture
        except (BagError, DatasetError, ImageError) as error:
            tell(str(error))


def _joined(pictures: list[dict[str, Any]], known: Mapping[str, Any]) -> dict[str, Any]:
    """Put pictures in the order of the inputs and number them.

    :raises DatasetError: there are none, or two cannot be told apart.
    """
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    keys: set[PurePosixPath] = set()
    for picture in sorted(pictures, key=itemgetter('place')):
        if (key := key_of(picture['image']['file_name'])) in keys:
            raise DatasetError(
                f'two inputs have a picture {key}: label them into files of their own'
            )
        keys.add(key)
        images.append({'id': len(images) + 1, **picture['image']})
        for entry in picture['objects']:
            boxes.append({'id': len(boxes) + 1, 'image_id': len(images), **entry})
    if not images:
        raise DatasetError('there is no picture that could be labelled')
    return {**known, 'images': images, 'annotations': boxes}


def _results(
    model: Model, found: Iterable[Placed], batch: int
) -> Iterator[tuple[Placed, Result]]:
    rest = iter(found)
    while several := list(islice(rest, batch)):
        frames = [Frame(picture.name, 1, 1, picture.image) for _, picture in several]
        yield from zip(several, model.infer(frames), strict=True)


@contextmanager
def _scratch(options: LabelOptions) -> Iterator[Path]:
    """Give a folder beside the output, which all workers see, for as long as they work.

    :raises ConfigError: it cannot be made.
    """
    try:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(
            dir=options.output.parent.resolve(), prefix=f'.{options.output.name}.'
        ))
    except OSError as error:
        raise ConfigError(f'{options.output}: cannot be written; {error}') from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Files:
    """What is written beside the JSON."""

    def __init__(self, options: LabelOptions, bundle: Bundle) -> None:
        """
        Make the folders.

        :raises ConfigError: they cannot be made.
        """
        self._images = options.images
        self._root = options.output.parent
        try:
            if self._images:
                self._images.mkdir(parents=True, exist_ok=True)
            for head, info in bundle.manifest.semantic.items():
                (self._root / head).mkdir(exist_ok=True)
                names = ''.join(f'{item.name}\n' for item in info.classes)
                write_text(self._root / head / 'classes.txt', names)
                link = self._root / head / 'images'
                if self._images and not link.exists():
                    with suppress(FileExistsError):  # another worker was faster
                        link.symlink_to(os.path.relpath(self._images, link.parent))
        except OSError as error:
            raise ConfigError(f'{options.output}: cannot be written; {error}') from error

    def write(self, picture: Picture, result: Result) -> None:
        """Write the picture if it is wanted, and label maps.

        :raises ImageError: the picture is too large for a file of its name.
        :raises ConfigError: something cannot be written.
        """
        if self._images:
            self._write(self._images / picture.name, picture.file())
        for head, mask in result.semantic.items():
            name = PurePosixPath(picture.name).with_suffix('.png')
            _, png = cv2.imencode('.png', mask.class_ids)
            self._write(self._root / head / 'labels' / name, png.tobytes())

    def keep(self, path: Path, found: Any) -> None:
        """Write what came of a share.

        :raises ConfigError: it cannot be written.
        """
        self._write(path, json.dumps(found, ensure_ascii=False).encode())

    def _write(self, path: Path, payload: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, payload)
        except OSError as error:
            raise ConfigError(f'{path}: cannot be written; {error.strerror}') from error
