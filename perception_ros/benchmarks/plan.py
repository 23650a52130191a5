"""What `bench engine` is to measure: bundles, backends, batches, images, labelled data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
import re

from typing_extensions import Self

from perception_ros.backends import BACKENDS
from perception_ros.backends.base import PerformanceHint
from perception_ros.bundles import Bundle, Manifest
from perception_ros.core.errors import BenchmarkError, DatasetError
from perception_ros.evaluation.accuracy import common_classes
from perception_ros.evaluation.datasets import Dataset, open_dataset

REFERENCE = 'onnxruntime@cpu'
"""What an FP32 bundle does in it, all others are compared with."""
SERVED = 'triton'
"""The backend that needs a server."""

_PRECISION_SUFFIX = re.compile(r'[-_.](fp32|fp16|int8)$')


@dataclass(frozen=True, slots=True)
class LabelledData:
    """A data set by its name, so that a worker can open it too; see `open_dataset`.

    `rename` holds classes of the data and what a bundle may call them instead.
    """

    reference: str
    split: str = ''
    labels: tuple[str, ...] | None = None
    rename: Mapping[str, str] = field(default_factory=dict)

    def open(self) -> Dataset:
        """Open it.

        :raises DatasetError: it cannot be used.
        """
        return open_dataset(self.reference, self.labels, self.split).renamed(self.rename)

    def fitting(self, manifest: Manifest) -> Self | None:
        """Return the data as a bundle can be measured on them; None: it knows no class of them.

        A class is renamed where the bundle knows the new name and not the old one, so that one
        list serves bundles that differ.
        """
        known = _class_names(manifest)
        rename = {
            old: new for old, new in self.rename.items() if new in known and old not in known
        }
        data = replace(self, rename=rename)
        try:
            common_classes(manifest, data.open())
        except DatasetError:
            return None
        return data

    @property
    def title(self) -> str:
        """What to call it in a table."""
        split = f'@{self.split}' if self.split else ''
        renamed = ', '.join(f'{old} as {new}' for old, new in self.rename.items())
        return f'{self.reference}{split}' + (f' ({renamed})' if renamed else '')


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """What is to be measured, and how.

    `backends` are NAME or NAME@DEVICE; `images` is a folder, a video or a picture, of which
    `image_count` images are taken. In each of the `rounds` every engine has its turn: `seconds`
    kept busy, then as long call by call. `server` is the address of a Triton server.
    """

    bundles: tuple[Bundle, ...]
    backends: tuple[str, ...]
    batches: tuple[int, ...]
    images: Path
    image_count: int = 12
    datasets: tuple[LabelledData, ...] = ()
    rounds: int = 15
    seconds: float = 0.5
    threads: int = 0
    performance_hint: PerformanceHint = 'latency'
    server: str = ''

    def check(self) -> None:
        """Raise BenchmarkError for what cannot be measured."""
        for what, values in (
            ('bundle', [bundle.manifest.name for bundle in self.bundles]),
            ('backend', self.backends),
            ('batch', self.batches),
        ):
            if not values:
                raise BenchmarkError(f'{what}: expected one or more, got none')
            if twice := [value for value in values if list(values).count(value) > 1]:
                raise BenchmarkError(f'{what}: expected each only once, got {twice[0]} twice')
        if min(self.batches) < 1:
            raise BenchmarkError(f'batch: expected 1 or more, got {min(self.batches)}')
        for backend in self.backends:
            if (name := backend.partition('@')[0]) not in BACKENDS:
                raise BenchmarkError(
                    f'backend {name!r}: expected some of {", ".join(BACKENDS)}, each with @DEVICE '
                    'if you like'
                )


def _class_names(manifest: Manifest) -> set[str]:
    parts = [manifest.detection, *manifest.semantic.values()]
    return {item.name for part in parts if part is not None for item in part.classes}


def default_backends(server: str = '') -> tuple[str, ...]:
    """Return the reference, every other backend that `auto` may take, and a server if named."""
    others = (name for name, backend in BACKENDS.items() if backend.auto)
    served = (SERVED,) if server else ()
    return (REFERENCE, *(name for name in others if name != REFERENCE.partition('@')[0]), *served)


def model_of(bundle: Bundle) -> str:
    """Return what all precisions of one model have in common: the name without the precision."""
    return _PRECISION_SUFFIX.sub('', bundle.manifest.name)


