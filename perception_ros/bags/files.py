"""The files that a bag consists of, as they can be opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import tempfile

import yaml

from perception_ros.bags.paths import files_inside, kind_of, METADATA, PACKED, SUFFIXES
from perception_ros.bags.salvage.base import Tell
from perception_ros.bags.salvage.file import File
from perception_ros.bags.salvage.pieces import decompress_file
from perception_ros.core.errors import BagError


def bag_files(path: Path, tell: Tell) -> list[Path]:
    """Return the files of a bag in their order: 9 before 10.

    :param tell: is told which of those that `metadata.yaml` names are not there.
    :raises BagError: there is none.
    """
    if not path.exists():
        raise BagError(f'there is no bag {path}. Check the name')
    if not path.is_dir():
        if kind_of(path) not in SUFFIXES:
            raise BagError(
                f'{path}: expected a bag ({", ".join(SUFFIXES)}, the first two also with '
                f'{PACKED}) or a folder of one, got a file {path.suffix or "without a suffix"}'
            )
        return [path]
    found = files_inside(path)
    if missing := [name for name in _named(path, tell) if not (path / name).exists()]:
        tell(f'{path.name}: of the files that {METADATA} names, {", ".join(missing)} are missing')
    if not found:
        raise BagError(
            f'{path}: expected files {", ".join(f"*{suffix}" for suffix in SUFFIXES)} in it, '
            'got none; of a folder of a data set `perception_ros bag make` makes a bag'
        )
    return found


@contextmanager
def unpacked(paths: list[Path], tell: Tell) -> Iterator[list[Path]]:
    """Give the files as they can be opened; compressed ones are copies as long as this lasts."""
    with tempfile.TemporaryDirectory(prefix='bag_') as folder:
        ready = []
        for path in paths:
            if path.suffix != PACKED:
                ready.append(path)
                continue
            target = Path(folder, path.stem)
            try:
                with File(path) as source, target.open('wb') as stream:
                    problem = decompress_file(source, stream)
            except OSError as error:
                raise BagError(f'{path}: cannot be decompressed; {error.strerror}') from error
            if problem:
                tell(f'{path.name} is damaged: {problem}; what comes before is read')
            ready.append(target)
        yield ready


def _named(folder: Path, tell: Tell) -> list[str]:
    """Return the files that `metadata.yaml` names, if there is one that can be read."""
    path = folder / METADATA
    if not path.is_file():
        return []
    try:
        about = yaml.safe_load(path.read_text(encoding='utf-8'))
        names = about['rosbag2_bagfile_information']['relative_file_paths']
        return [Path(name).name for name in names]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError) as error:
        what = type(error).__name__ if isinstance(error, KeyError) else str(error).splitlines()[0]
        tell(f'{path} cannot be read ({what}); the files in its folder are read without it')
        return []
