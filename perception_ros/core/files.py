"""Settings read with an error that names their file, and results written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
import sys
import tempfile
from typing import Any

import yaml

from perception_ros.core.errors import PerceptionError


def read_yaml(path: Path, what: str, refused: type[PerceptionError]) -> Any:
    """Read a YAML file.

    :param what: it should be, for the error.
    :raises PerceptionError: of the type `refused`; it cannot be read, or is no YAML.
    """
    try:
        return yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise refused(f'{path}: cannot be read; {error.strerror}') from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise refused(f'{path}: expected {what} in YAML; {error}') from error


def read_file(path: Path, most: int = sys.maxsize) -> bytes:
    """Return what a file holds; a device or a pipe would be read for ever.

    :raises OSError: it cannot be read, is no file, or holds more than `most` bytes.
    """
    if path.exists() and not path.is_file():
        raise OSError('it is no file')
    if (size := path.stat().st_size) > most:
        raise OSError(f'it holds {size} bytes, and {most} are the most')
    return path.read_bytes()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file in one step; what stood there stays until then.

    File names that are not UTF-8 come out escaped, as JSON escapes them.

    :raises OSError: it cannot be written; nothing has changed.
    """
    write_bytes(path, text.encode('utf-8', 'backslashreplace'))


def write_bytes(path: Path, payload: bytes) -> None:
    """Write a file in one step; what stood there stays until then.

    :raises OSError: it cannot be written; nothing has changed.
    """
    if path.exists() and not path.is_file():  # a device or a pipe cannot be exchanged
        path.write_bytes(payload)
        return
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name[:40]}.')
    try:
        with os.fdopen(handle, 'wb') as stream:
            stream.write(payload)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def check_writable(path: Path) -> None:
    """Look whether `write_bytes` could write a file, before the work whose results it is for.

    :raises OSError: it could not.
    """
    if path.is_dir():
        raise OSError('expected the name of a file, got a folder')
    if path.exists() and not path.is_file():
        if not os.access(path, os.W_OK):
            raise OSError('expected what can be written')
        return
    folder = path.absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OSError('expected a name in a folder that is there and can be written')


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
