"""`perception_ros run`: a bundle on image files and bags, the same way that camera frames go."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, ExitStack
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Annotated, Any, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
import typer

from perception_ros.backends import EngineOptions, open_engine
from perception_ros.bags import is_bag, need_library
from perception_ros.bundles import Bundle
from perception_ros.cli.answers import give
from perception_ros.cli.main import complain, split_names
from perception_ros.cli.progress import progress
from perception_ros.core.errors import ConfigError, ImageError
from perception_ros.core.image_file import read_image
from perception_ros.core.model import Model
from perception_ros.core.overlay import draw_result, Palette
from perception_ros.core.types import Frame, Result

if TYPE_CHECKING:
    from perception_ros.bags.bag import Bag

_QUALITY = 92
"""Of overlay JPEGs, 0..100."""
_JPEG_SIDE = 65_500
"""Of libjpeg, in pixels."""


def run(
    bundle: Annotated[str, typer.Argument(help='Its folder, or the name of a shipped one.')],
    images: Annotated[
        list[Path], typer.Argument(help='Image files, and bags.', metavar='IMAGE...')
    ],
    json_file: Annotated[
        Path | None, typer.Option('--json', help='Write the answers to this file; -: to stdout.')
    ] = None,
    overlay: Annotated[
        Path | None, typer.Option(help='Write pictures with boxes and masks into this folder.')
    ] = None,
    topics: Annotated[
        str, typer.Option(help='Image topics of bags, with commas; default: all of cameras.')
    ] = '',
    score_threshold: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least score; default: the bundle's.")
    ] = None,
    backend: Annotated[
        str,
        typer.Option(help='auto, tensorrt, tensorrt_rtx, onnxruntime, openvino, triton or fake.'),
    ] = 'auto',
    device: Annotated[
        str, typer.Option(help='auto, cpu, or what the backend knows, such as cuda:0.')
    ] = 'auto',
) -> None:
    """Find objects and masks in image files and in the images of bags.

    An image that cannot be read or drawn is reported, the others are processed, and the exit
    status is 1.
    """
    opened = Bundle.load(bundle)
    for folder in (json_file.parent if json_file else None, overlay):
        _make(folder)
    if json_file and json_file.is_dir():
        raise ConfigError(f'{json_file}: expected a file to write the answers to, got a folder')
    names = _overlay_names(images)
    _spare_inputs(images, [*([overlay / name for name in names] if overlay else []), json_file])
    palette, entries, failed = Palette.of(opened.manifest), [], 0
    with ExitStack() as stack:
        sources = [
            stack.enter_context(_recording(path, name, split_names(topics))) if is_bag(path)
            else _Picture(path, name)
            for path, name in zip(images, names, strict=True)
        ]
        engine = stack.enter_context(
            open_engine(opened, backend, EngineOptions(max_batch=1, device=device))
        )
        threshold = None if score_threshold is None else lambda camera: score_threshold
        model = Model(opened.manifest.name, opened.manifest, engine, score_threshold=threshold)
        total = sum(len(source) for source in sources)
        for item in progress(chain.from_iterable(sources), total=total):
            try:
                result = model.infer([item.frame()])[0]
                entries.append({**item.about, **entry(result)})
                if overlay:
                    rgb = result.frame.image.rgb()
                    picture = draw_result(rgb, result, palette, legend=bool(result.semantic))
                    _write_picture(overlay / item.overlay, picture)
            except ImageError as error:
                complain(f'{item.name}: {error}')
                failed += 1
        total = sum(len(source) for source in sources)
        problems = list(chain.from_iterable(source.problems for source in sources))
    give({'images': entries}, json_file, lambda: Console().print(_table(entries)))
    for problem in problems:
        complain(problem)
    if failed:
        complain(f'{failed} of {total} images could not be read or drawn')
    if failed or problems:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Input:
    """One image to look at."""

    name: str
    overlay: str
    """File name for its picture."""
    about: Mapping[str, Any]
    """What the JSON says of it beside the answers."""
    frame: Callable[[], Frame]
    """Reads it, and raises ImageError where it cannot."""


class _Picture:
    """An image file."""

    problems: Sequence[str] = ()

    def __init__(self, path: Path, overlay: str) -> None:
        self._path = path
        self._overlay = overlay

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[_Input]:
        path = self._path
        yield _Input(
            str(path), self._overlay, {'image': str(path)},
            lambda: Frame(str(path), 1, 1, read_image(path)),
        )


class _Recording:
    """The images of a bag's cameras, in the order of recording."""

    def __init__(self, bag: Bag, topics: Mapping[str, str], overlay: str) -> None:
        self._bag = bag
        self._topics = topics
        self._stem = Path(overlay).stem

    def __len__(self) -> int:
        return sum(self._bag.topics[topic].count for topic in self._topics.values())

    @property
    def problems(self) -> Sequence[str]:
        """What of the bag could not be read."""
        return [f'{self._bag.path}: {problem}' for problem in self._bag.problems]

    def __iter__(self) -> Iterator[_Input]:
        from perception_ros.bags.frames import frames

        path = self._bag.path
        for number, frame in enumerate(frames(self._bag, self._topics)):
            topic = self._topics[frame.camera]
            yield _Input(
                f'{path}, {topic} at {frame.stamp_ns / 1e9:.3f} s',
                f'{self._stem}_{number:06d}_{frame.camera}.jpg',
                {'image': str(path), 'topic': topic, 'stamp_ns': frame.stamp_ns},
                lambda frame=frame: frame,  # type: ignore[misc]
            )


@contextmanager
def _recording(path: Path, overlay: str, topics: tuple[str, ...]) -> Iterator[_Recording]:
    """Open a bag for as long as its images are looked at.

    :raises BagError: it cannot be read, or has no such images.
    """
    need_library()
    from perception_ros.bags.bag import open_bag
    from perception_ros.bags.frames import camera_topics

    with open_bag(path) as bag:
        yield _Recording(bag, camera_topics(bag, topics), overlay)


def entry(result: Result) -> dict[str, Any]:
    """Return the answers in one entry of the JSON's `images`: boxes in the image's own pixels."""
    image = result.frame.image
    answer: dict[str, Any] = {'width': image.width, 'height': image.height, 'detections': []}
    if found := result.detections:
        answer['detections'] = [
            {
                'class_id': found.class_names[label],
                'score': round(float(score), 5),
                'box': [round(float(side), 3) for side in box],
            }
            for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
        ]
    if result.semantic:
        answer['semantic'] = {}
        for head, mask in result.semantic.items():
            counts = np.bincount(mask.class_ids.reshape(-1), minlength=256) / mask.class_ids.size
            shares = zip(mask.class_names, counts, strict=False)
            answer['semantic'][head] = {name: round(float(share), 5) for name, share in shares}
    return answer


def _make(folder: Path | None) -> None:
    """Make a folder for what will be written: now, not after minutes of work."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f'{folder}: expected a folder to write to; {error.strerror}') from error


def _write_picture(path: Path, rgb: NDArray[np.uint8]) -> None:
    height, width = rgb.shape[:2]
    if max(width, height) > _JPEG_SIDE:
        raise ImageError(
            f'the overlay of {width}x{height} px cannot be written: a JPEG has sides of at most '
            f'{_JPEG_SIDE} px'
        )
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, jpeg = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    try:
        path.write_bytes(jpeg.tobytes())
    except OSError as error:
        raise ConfigError(f'{path}: cannot be written; {error.strerror}') from error


def _overlay_names(images: list[Path]) -> list[str]:
    """Return a file name for each image; images of one name from several folders are numbered."""
    taken: set[str] = set()
    names = []
    for path in images:
        name = next(
            name
            for number in count(1)
            if (name := f'{path.stem}{"" if number == 1 else f"_{number}"}.jpg') not in taken
        )
        taken.add(name)
        names.append(name)
    return names


def _spare_inputs(images: list[Path], targets: list[Path | None]) -> None:
    """Refuse to write over what is to be read.

    :raises ConfigError: a target is one of the images.
    """
    inputs = {image.resolve() for image in images}
    for target in targets:
        if target is not None and target.resolve() in inputs:
            raise ConfigError(
                f'{target} is one of the images: expected another place for what is written'
            )


def _table(entries: list[dict[str, Any]]) -> Table:
    masks = any('semantic' in item for item in entries)
    table = Table('image', 'size', 'detections', box=SIMPLE_HEAD, pad_edge=False)
    table.columns[0].overflow = 'fold'
    if masks:
        table.add_column('masks')
    for item in entries:
        counts: dict[str, int] = {}
        for found in item['detections']:
            counts[found['class_id']] = counts.get(found['class_id'], 0) + 1
        shares = [
            f'{name} {share:.0%}'
            for head in item.get('semantic', {}).values()
            for name, share in head.items()
            if share >= 0.005
        ]
        size = f'{item["width"]}x{item["height"]}'
        boxes = ', '.join(f'{count} {name}' for name, count in counts.items())
        name = Path(item['image']).name
        if 'topic' in item:
            name = f'{name} {item["topic"]} {item["stamp_ns"] / 1e9:.3f}'
        cells = [name, size, boxes or '-', ', '.join(shares) or '-']
        table.add_row(*cells[: 4 if masks else 3])
    return table
