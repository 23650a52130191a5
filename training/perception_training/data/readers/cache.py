"""
Decoded images in a file that all processes map into memory.

Worker processes, the processes of torchrun and other runs on a machine share its pages, so that a
set is decoded once and lies in memory once, as far as there is room; the kernel drops pages that
nobody uses. The name of the file is a digest of all that its content depends on: settings, class
lists, the code that reads, and name, size and time of change of every image and label.
"""

import fcntl
import hashlib
import json
import mmap
import os
from pathlib import Path
import struct
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

import perception_ros.evaluation.datasets as runtime_readers
from perception_training.config.labels import LabelsConfig
from perception_training.config.sources import SourceConfig
from perception_training.data.ahead import ahead
from perception_training.data.readers.images import ImageFiles
from perception_training.data.sample import Sample
from perception_training.errors import DataError

ALIGNMENT = 64
"""Bytes; arrays begin at multiples."""
_FOOTER = struct.Struct('<QQ')
_LENGTH = struct.Struct('<Q')
_CODE = (Path(__file__).parents[1], Path(runtime_readers.__file__).parent)


class Mapped:
    """The samples of a file; their arrays are read-only views of it."""

    def __init__(self, name: str, path: Path) -> None:
        """
        Map a file that `kept` wrote.

        :param name: of the source.
        """
        self.name, self._path = name, path
        with path.open('rb') as file:
            self._memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start, count = _FOOTER.unpack_from(self._memory, len(self._memory) - _FOOTER.size)
        self._offsets = np.frombuffer(self._memory, np.int64, count, start)
        names = self._memory[start + self._offsets.nbytes:len(self._memory) - _FOOTER.size]
        self._names = tuple(json.loads(names))

    def __reduce__(self) -> tuple[type['Mapped'], tuple[str, Path]]:
        """Send where it is to another process, not what is in it."""
        return Mapped, (self.name, self._path)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each image."""
        return self._names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Sample:
        offset = int(self._offsets[index])
        length, = _LENGTH.unpack_from(self._memory, offset)
        start = offset + _LENGTH.size
        header = json.loads(self._memory[start:start + length])
        place = start + length
        arrays: dict[str, NDArray[Any]] = {}
        for key, (kind, shape) in header.items():
            place = _aligned(place)
            count = int(np.prod(shape))
            arrays[key] = np.frombuffer(self._memory, kind, count, place).reshape(shape)
            place += arrays[key].nbytes
        masks = None
        if 'masks' in arrays:
            masks = np.unpackbits(arrays['masks'], axis=-1, count=arrays['image'].shape[1])
        semantic = {key.partition('/')[2]: a for key, a in arrays.items() if '/' in key}
        return Sample(self._names[index], arrays['image'], arrays['boxes'], arrays['labels'],
                      arrays['labelled'], masks, semantic)


def kept(source: ImageFiles, config: SourceConfig, labels: LabelsConfig, root: Path,
         folder: Path) -> Mapped:
    """
    Give a source from its file below `folder`, which is made where there is none.

    Whoever comes first makes it; others on this machine wait for that.

    :raises DataError: an image or a label is damaged, or the file cannot be written.
    """
    path = folder / f'{digest(source, config, labels, root)}.samples'
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with path.with_suffix('.lock').open('w') as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.exists():
                    _write(path, source)
        except OSError as error:
            raise DataError(
                f'{source.name}: cannot keep decoded images in {path}: {error.strerror}; make '
                'room, let data.cache be a folder on another disk, or set cache: false') from error
    return Mapped(source.name, path)


def digest(source: ImageFiles, config: SourceConfig, labels: LabelsConfig, root: Path) -> str:
    """Digest all that the samples of a source depend on."""
    found = hashlib.blake2b(digest_size=16)
    settings = config.model_dump_json(exclude={'share', 'cache', 'pseudo'})
    for text in (settings, labels.model_dump_json()):
        found.update(f'{text}\n'.encode())
    for path in (path for folder in _CODE for path in sorted(folder.rglob('*.py'))):
        found.update(path.read_bytes())
    labelling: set[Path] = set()
    for index, image in enumerate(source.images):
        labelling.update(source.files(index))
        found.update(_stamp(image, root))
    for path in sorted(labelling):
        found.update(_stamp(path, root))
    return found.hexdigest()


def _stamp(path: Path, root: Path) -> bytes:
    """Name, size and time of change; a file that is missing is an error when it is read."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return b''
    return f'{os.path.relpath(path, root)} {state.st_size} {state.st_mtime_ns}\n'.encode()


def _write(path: Path, source: ImageFiles) -> None:
    part = path.with_suffix('.part')
    try:
        with part.open('wb') as file:
            offsets = [_put(file, sample) for sample in ahead(source.__getitem__, len(source))]
            _pad(file)
            start = file.tell()
            file.write(np.array(offsets, np.int64).tobytes())
            file.write(json.dumps(source.names).encode())
            file.write(_FOOTER.pack(start, len(offsets)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _put(file: BinaryIO, sample: Sample) -> int:
    """Append a sample, and tell where it begins."""
    arrays: dict[str, NDArray[Any]] = {
        'image': sample.image, 'boxes': sample.boxes, 'labels': sample.labels,
        'labelled': sample.labelled, **{f'semantic/{h}': a for h, a in sample.semantic.items()}}
    if sample.masks is not None:
        arrays['masks'] = np.packbits(sample.masks, axis=-1)
    header = json.dumps({key: [a.dtype.str, a.shape] for key, a in arrays.items()}).encode()
    offset = file.tell()
    file.write(_LENGTH.pack(len(header)) + header)
    for array in arrays.values():
        _pad(file)
        file.write(np.ascontiguousarray(array).data)
    return offset


def _pad(file: BinaryIO) -> None:
    file.write(b'\0' * (_aligned(file.tell()) - file.tell()))


def _aligned(place: int) -> int:
    return -(-place // ALIGNMENT) * ALIGNMENT
