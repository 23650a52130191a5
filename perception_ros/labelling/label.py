"""Pictures through a teacher: `label` is the whole of it.

What comes of it:

    labels.json              boxes, and outlines where the teacher has masks, as COCO has them
    HEAD/labels/<name>.png   label maps beside it, one folder for each semantic head
    HEAD/classes.txt         what their values mean
    HEAD/images              leads to the pictures, where these are written
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
import os
from pathlib import Path, PurePosixPath
from typing import Any

import cv2

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bundles import Bundle
from perception_ros.core.errors import BagError, ConfigError, DatasetError, ImageError
from perception_ros.core.files import write_bytes, write_text
from perception_ros.core.model import Model
from perception_ros.core.types import Frame, Result
from perception_ros.labelling.coco import about, categories, objects
from perception_ros.labelling.pictures import Picture, pictures, Tell

Track = Callable[[Iterable[Picture]], Iterable[Picture]]
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


def label(options: LabelOptions, tell: Tell, track: Track = iter) -> dict[str, Any]:
    """Label pictures, and return what was written as COCO JSON.

    The same inputs and bundle give the same bytes where the runtime gives the same numbers.

    :param tell: is told what is damaged and was left out.
    :raises PerceptionError: nothing can be labelled, or two pictures have the same name.
    """
    bundle = Bundle.load(options.bundle)
    manifest = bundle.manifest
    kinds = categories(manifest, options.classes)
    if unknown := sorted({*options.classes} - {item['name'] for item in kinds}):
        known = [item['name'] for item in categories(manifest, ())]
        raise ConfigError(
            f'{manifest.name} has no class {", ".join(unknown)}; expected some of '
            f'{", ".join(known) or "none, for it finds no boxes"}'
        )
    wanted = {item['id'] for item in kinds}
    threshold = options.score_threshold
    images: list[dict[str, Any]] = []
    boxes: list[dict[str, Any]] = []
    engine_options = EngineOptions(max_batch=options.batch, device=options.device)
    with open_engine(bundle, options.backend, engine_options) as engine:
        model = Model(
            manifest.name, manifest, engine,
            score_threshold=None if threshold is None else lambda camera: threshold,
        )
        written = about(manifest, engine.info, threshold)
        files = _Files(options, bundle)
        for picture, result in _results(model, track(_inputs(options, tell)), options.batch):
            size = result.frame.image.width, result.frame.image.height
            try:
                files.write(picture, result)
            except ImageError as error:
                tell(str(error))
                continue
            key = {'id': len(images) + 1, 'file_name': picture.name}
            images.append({**key, 'width': size[0], 'height': size[1], 'license': 1})
            for entry in objects(result, wanted):
                boxes.append({'id': len(boxes) + 1, 'image_id': key['id'], **entry})
    if not images:
        raise DatasetError('there is no picture that could be labelled')
    return {**written, 'images': images, 'annotations': boxes, 'categories': kinds}


def _inputs(options: LabelOptions, tell: Tell) -> Iterator[Picture]:
    """Yield the pictures of all inputs, whose names are to differ in more than their endings."""
    came_from: dict[PurePosixPath, Path] = {}
    for path in options.inputs:
        for picture in _readable(path, options.every, tell):
            key = PurePosixPath(picture.name).with_suffix('')
            if (first := came_from.setdefault(key, path)) is not path:
                raise DatasetError(
                    f'{first} and {path} both have a picture {key}: label them into files of '
                    'their own'
                )
            yield picture


def _readable(path: Path, every: int, tell: Tell) -> Iterator[Picture]:
    """Yield the pictures of an input that have a name of their own; what is amiss is told."""
    names: set[PurePosixPath] = set()
    try:
        for picture in pictures(path, every, tell):
            key = PurePosixPath(picture.name).with_suffix('')
            if key in names:
                tell(f'{path}: a second picture {picture.name} was left out')
                continue
            names.add(key)
            yield picture
    except (BagError, DatasetError, ImageError) as error:  # the other inputs may be of use
        tell(str(error))


def _results(
    model: Model, found: Iterable[Picture], batch: int
) -> Iterator[tuple[Picture, Result]]:
    rest = iter(found)
    while several := list(islice(rest, batch)):
        frames = [Frame(item.name, 1, 1, item.image) for item in several]
        yield from zip(several, model.infer(frames), strict=True)


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
            self._root.mkdir(parents=True, exist_ok=True)
            if self._images:
                self._images.mkdir(parents=True, exist_ok=True)
            for head, info in bundle.manifest.semantic.items():
                (self._root / head).mkdir(exist_ok=True)
                names = ''.join(f'{item.name}\n' for item in info.classes)
                write_text(self._root / head / 'classes.txt', names)
                link = self._root / head / 'images'
                if self._images and not link.exists():
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

    def _write(self, path: Path, payload: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(path, payload)
        except OSError as error:
            raise ConfigError(f'{path}: cannot be written; {error.strerror}') from error
