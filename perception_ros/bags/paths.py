"""What a bag is by its name."""

from __future__ import annotations

from pathlib import Path
import re

SUFFIXES = ('.mcap', '.db3', '.bag')
PACKED = '.zstd'
METADATA = 'metadata.yaml'


def is_bag(path: Path) -> bool:
    """Return whether this is a file of a bag by its name, or a folder that holds such files."""
    if path.is_dir():
        return bool(files_inside(path))
    return kind_of(path) in SUFFIXES and path.is_file()


def files_inside(folder: Path) -> list[Path]:
    """Return the files of a bag that lie in a folder, in their order: 9 before 10."""
    paths = [path for path in folder.iterdir() if kind_of(path) in SUFFIXES and path.is_file()]
    return sorted(paths, key=lambda path: [
        (1, int(part), '') if part.isdigit() else (0, 0, part)
        for part in re.split(r'(\d+)', path.name)
    ])


def kind_of(path: Path) -> str:
    """Return the suffix, without that of compression."""
    inner = Path(path.stem) if path.suffix == PACKED else path
    return inner.suffix
