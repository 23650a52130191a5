"""A model that explains itself: a folder with a graph, a manifest and a card."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
import shutil
import tempfile

from typing_extensions import Self

from perception_ros.bundles.contract import check_graph
from perception_ros.bundles.find import find_bundle
from perception_ros.bundles.manifest import CARD_NAME, GRAPH_NAME, Manifest, MANIFEST_NAME
from perception_ros.core.errors import BundleError
from perception_ros.core.files import read_file


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that has been read and checked.

    Its graph takes `images` uint8 [B, H, W, 3] RGB, letterboxed, and gives what the manifest
    declares; `docs/bundles.md` has the contract.
    """

    path: Path
    manifest: Manifest

    @property
    def graph_path(self) -> Path:
        """The ONNX file."""
        return self.path / self.manifest.graph.file

    @property
    def card_path(self) -> Path:
        """The model card; a bundle written by hand may lack it."""
        return self.path / CARD_NAME

    @classmethod
    def load(cls, reference: str | Path) -> Self:
        """Open a bundle and check all of it: manifest, SHA-256, and the graph's contract.

        :param reference: a folder, or the bare name of an installed bundle.
        :raises BundleError: it is missing, damaged, or breaks the contract.
        """
        path = find_bundle(reference)
        bundle = cls(path, Manifest.read(path / MANIFEST_NAME))
        bundle._check_graph()
        return bundle

    def _check_graph(self) -> None:
        try:
            payload = read_file(self.graph_path)
        except OSError as error:
            raise BundleError(
                f'{self.graph_path}: expected the graph that {MANIFEST_NAME} names; {error}'
            ) from error
        expected, came = self.manifest.graph.sha256, sha256(payload).hexdigest()
        if came != expected:
            raise BundleError(
                f'{self.graph_path}: expected SHA-256 {expected} as {MANIFEST_NAME} says, got '
                f'{came} over {len(payload)} bytes; the file is damaged or was exchanged: copy '
                'the bundle again, or export it anew'
            )
        check_graph(payload, self.manifest, str(self.graph_path))


def write_bundle(
    path: Path, manifest: Manifest, payload: bytes, card: str, *, overwrite: bool = False
) -> Bundle:
    """Write a bundle, or nothing at all: it is checked in a folder beside, then renamed.

    :param path: the folder to make.
    :param manifest: its `graph` must be `GraphInfo.of(payload)`.
    :param payload: the serialised ONNX graph.
    :param card: text of `CARD.md`.
    :param overwrite: whether a bundle that is already there is replaced.
    :raises BundleError: the parts do not fit together, or something else is in the way.
    """
    check_target(path, overwrite)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f'.{path.name[:40]}-', dir=path.parent))
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        fresh = work / 'new'
        fresh.mkdir()
        (fresh / manifest.graph.file).write_bytes(payload)
        (fresh / MANIFEST_NAME).write_text(manifest.to_yaml(), encoding='utf-8')
        (fresh / CARD_NAME).write_text(card, encoding='utf-8')
        Bundle.load(fresh)
        _exchange(fresh, path, work / 'old')
    except OSError as error:
        raise _cannot_write(path, error) from error
    finally:
        # An old bundle that could not be put back is nowhere else.
        if path.exists() or not (work / 'old').exists():
            shutil.rmtree(work, ignore_errors=True)
    return Bundle(path, manifest)


def _exchange(fresh: Path, path: Path, old: Path) -> None:
    """Put `fresh` where `path` is, with whatever else a user keeps in that folder."""
    if not path.exists():
        fresh.rename(path)
        return
    ours = {MANIFEST_NAME, CARD_NAME, *_graphs(path)}
    path.rename(old)
    try:
        for item in old.iterdir():
            if item.name not in ours and not (fresh / item.name).exists():
                _copy(item, fresh / item.name)
        fresh.rename(path)
    except BaseException:
        old.rename(path)
        raise


def _copy(source: Path, target: Path) -> None:
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True)
    else:
        shutil.copy2(source, target, follow_symlinks=False)


def _graphs(path: Path) -> list[str]:
    """Return the file of a bundle's graph, as far as its manifest can be read."""
    try:
        return [Manifest.read(path / MANIFEST_NAME).graph.file]
    except BundleError:
        return [GRAPH_NAME]


def _cannot_write(path: Path, error: OSError) -> BundleError:
    return BundleError(
        f'{path}: expected to write a bundle there, got: {error.strerror or error}; make room or '
        'choose another output'
    )


def check_target(path: Path, overwrite: bool) -> None:
    """Raise BundleError unless a bundle may be written to `path`, and can be."""
    try:
        _check_place(path, overwrite)
        place = path.parent
        while not place.exists():
            place = place.parent
        # Tried, not asked for: what a file system allows shows when it is done.
        Path(tempfile.mkdtemp(prefix='.', dir=place)).rmdir()
    except OSError as error:
        raise _cannot_write(path, error) from error


def _check_place(path: Path, overwrite: bool) -> None:
    if not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    if not (path / MANIFEST_NAME).is_file():
        raise BundleError(
            f'{path}: expected a new folder for the bundle, got something that is no bundle; '
            'choose another output'
        )
    if not overwrite:
        raise BundleError(
            f'{path}: a bundle is there already; choose another output, or allow to overwrite it'
        )
