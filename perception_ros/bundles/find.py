"""Where bundles lie: a folder that is named, or one that was installed with the package."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
import os
from pathlib import Path
import sys

from perception_ros.bundles.manifest import MANIFEST_NAME
from perception_ros.core.errors import BundleError


def find_bundle(reference: str | Path) -> Path:
    """Return the folder that `reference` means.

    :param reference: a folder (absolute, or relative to the working directory), or the bare name
        of a bundle that is installed or lies in `engines/` of the source tree.
    :raises BundleError: there is none; the message lists the places that were searched.
    """
    try:
        named = Path(reference).expanduser()
    except RuntimeError as error:
        raise BundleError(
            f'bundle {str(reference)!r} not found: expected a folder; {error}'
        ) from error
    # os.path, not pathlib: that raises for names that are too long or may not be read.
    if os.path.isfile(named / MANIFEST_NAME):
        return named
    if named.name == MANIFEST_NAME and os.path.isfile(named):
        return named.parent
    is_bare = len(named.parts) == 1 and not named.is_absolute()
    searched = [named]
    for folder in engine_folders() if is_bare else ():
        searched.append(folder / named)
        if os.path.isfile(folder / named / MANIFEST_NAME):
            return folder / named
    if os.path.isdir(named):
        raise BundleError(
            f'{named} is no bundle: expected {MANIFEST_NAME} in it, got none; name the folder '
            'that `perception_ros import --output` wrote'
        )
    raise BundleError(
        f'bundle {str(reference)!r} not found: expected a folder with {MANIFEST_NAME}; searched '
        + ', '.join(str(place) for place in searched)
    )


def engine_folders() -> Iterator[Path]:
    """Yield the folders that may hold installed bundles, the most specific first."""
    share = Path('share', 'perception_ros', 'engines')
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    for prefix in dict.fromkeys(filter(None, prefixes)):
        yield Path(prefix) / share
    yield Path(__file__).resolve().parents[2] / 'engines'


def list_bundles(folders: Iterable[Path] | None = None) -> list[Path]:
    """Return every folder that holds a bundle, those that a bare name means and no others.

    :param folders: where to look; default: `engine_folders`. Of two bundles with one name only the
        first counts, as in `find_bundle`.
    """
    found: dict[str, Path] = {}
    for folder in engine_folders() if folders is None else folders:
        for path in _folders_in(folder):
            if os.path.isfile(path / MANIFEST_NAME) and not path.name.startswith('.'):
                found.setdefault(path.name, path)
    return list(found.values())


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:  # it is not there, or not for us to read
        return []
