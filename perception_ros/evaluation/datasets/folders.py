"""Folders with an image and a label of the same name, in the layouts that people use."""

from __future__ import annotations

from pathlib import Path

from perception_ros.core.errors import DatasetError

PICTURES = frozenset({'.jpg', '.jpeg', '.png', '.bmp', '.webp'})


def image_files(root: Path, split: str) -> tuple[Path, ...]:
    """Return the images of ROOT/images, ROOT/SPLIT/images or ROOT/images/SPLIT, by name.

    :raises DatasetError: there are none.
    """
    folders = [root / split / 'images', root / 'images' / split]
    folder = next((place for place in folders if place.is_dir()), None)
    if folder is None:
        splits = sorted(place.parent.name for place in root.glob('*/images'))
        hint = f'; it has the splits {", ".join(splits)}: add @{splits[0]}' if splits else ''
        raise DatasetError(
            f'{root}: expected a folder {folders[0].relative_to(root)} with images, and labels '
            f'beside it, got none{hint}'
        )
    images = tuple(sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES))
    if not images:
        raise DatasetError(
            f'{folder}: expected images ({", ".join(sorted(PICTURES))}), got none'
        )
    return images


def label_of(image: Path, suffix: str) -> Path:
    """Return the label file of an image: its last folder `images` becomes `labels`."""
    parts = list(image.parts)
    parts[len(parts) - 1 - parts[::-1].index('images')] = 'labels'
    return Path(*parts).with_suffix(suffix)


def class_names(root: Path) -> tuple[str, ...]:
    """Return the names in ROOT/classes.txt, one a line; none where it is missing."""
    path = root / 'classes.txt'
    if not path.is_file():
        return ()
    names = tuple(line.strip() for line in path.read_text(encoding='utf-8').splitlines())
    return tuple(name for name in names if name)
