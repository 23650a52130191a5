"""Writing bags: the same messages give the same bytes, and nothing half-written is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
import shutil
import sqlite3
import tempfile
from typing import Any, Literal

from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.enums import CompressionFormat, CompressionMode
from typing_extensions import Self

from perception_ros.bags.qos import offered
from perception_ros.bags.store import Definition
from perception_ros.bags.types import standard, Types
from perception_ros.core.errors import BagError

_PLUGINS = {'.mcap': StoragePlugin.MCAP, '.db3': StoragePlugin.SQLITE3}
_NO_HASH = 'RIHS01_' + 64 * '0'
_FORMAT_VERSION: Literal[8] = 8
"""The last one whose QoS every distribution from Humble on can read."""
_FULL = (OSError, sqlite3.Error)
"""What a full disk raises, by the kind of file."""


class BagWriter:
    """A bag being written; it appears at its place when it is complete.

    `.mcap` and `.db3` are single files, the first in chunks of zstd; another name becomes a folder
    with `metadata.yaml` and an `.mcap`.
    """

    def __init__(self, path: Path, *, overwrite: bool = False) -> None:
        """
        Begin.

        :raises BagError: something is there already, or nothing can be written there.
        """
        if path.exists() and not overwrite:
            raise BagError(f'{path} exists; name another place, or pass --overwrite')
        if path.is_dir() and not (path / 'metadata.yaml').is_file() and any(path.iterdir()):
            raise BagError(f'{path} is a folder, but no bag: it is not written over')
        if path.is_file() and path.suffix not in _PLUGINS:
            raise BagError(
                f'{path} is a file: expected a name of a folder, or one that ends with '
                f'{" or ".join(_PLUGINS)}'
            )
        self._path = path
        self._connections: dict[tuple[str, str], Connection] = {}
        with self._errors():
            path.parent.mkdir(parents=True, exist_ok=True)
            # beside its place, so that the last step is a rename
            self._folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f'.{path.name[:40]}.'))
            try:
                self._writer = self._begin()
            except _FULL:
                shutil.rmtree(self._folder, ignore_errors=True)
                raise

    def add_topic(
        self,
        topic: str,
        type_name: str,
        *,
        is_latched: bool = False,
        types: Types | None = None,
        definition: Definition | None = None,
    ) -> None:
        """Announce a topic; one that is written to without has a standard type.

        :param types: where the type is described, by default ROS 2's own and vision_msgs.
        :param definition: taken over as it is where `types` knows nothing of the type.
        :raises BagError: nothing is known of the type.
        """
        about: dict[str, Any]
        try:
            text, digest = (types or _STANDARD).described(type_name)
            about = {'msgdef': text, 'rihs01': digest}
        except BagError:
            if definition is None:
                raise
            about = {'msgdef': definition.text, 'rihs01': _NO_HASH}
        with self._errors():
            self._connections[topic, type_name] = self._writer.add_connection(
                topic, type_name, offered_qos_profiles=[offered(is_latched)], **about
            )

    def write(self, topic: str, message: Any, time_ns: int) -> None:
        """Write a message object of `messages.py` at a time."""
        name = message.__msgtype__
        self.write_cdr(topic, name, time_ns, standard().serialize_cdr(message, name))

    def write_cdr(
        self, topic: str, type_name: str, time_ns: int, data: bytes | memoryview
    ) -> None:
        """Write a message that is CDR already.

        :raises BagError: it cannot be written.
        """
        if (topic, type_name) not in self._connections:
            self.add_topic(topic, type_name)
        with self._errors():
            self._writer.write(self._connections[topic, type_name], time_ns, data)

    def close(self) -> None:
        """End it and put it in its place."""
        bag = self._writer.path
        try:
            with self._errors():
                self._writer.close()
                made = bag
                if self._path.suffix in _PLUGINS:
                    made = bag / f'{bag.name}{self._path.suffix}'
                if self._path.is_dir():
                    shutil.rmtree(self._path)
                made.replace(self._path)
        except BagError:
            self._abort()
            raise
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *exception: object) -> None:
        if kind is None:
            self.close()
        else:
            self._abort()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _begin(self) -> Writer:
        """Open a bag in our folder."""
        # its name goes into the file
        name = self._path.stem if self._path.suffix in _PLUGINS else self._path.name
        plugin = _PLUGINS.get(self._path.suffix, StoragePlugin.MCAP)
        writer = Writer(self._folder / name, version=_FORMAT_VERSION, storage_plugin=plugin)
        if plugin is StoragePlugin.MCAP:
            writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        writer.open()
        return writer

    def _abort(self) -> None:
        with suppress(*_FULL):  # which it may raise once more for what it still has to write
            self._writer.abort()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise BagError where the bag cannot be written."""
        try:
            yield
        except _FULL as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise BagError(f'{self._path}: cannot be written; {why}') from error


_STANDARD = Types()
