"""What a reader of a data set is."""

from typing import Protocol

from perception_training.data.sample import Sample


class Source(Protocol):
    """Some images of a set, in an order that never changes."""

    name: str

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each image, all different."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """
        Decode one image and its labels.

        :raises DataError: naming the file, and the line where there is one.
        """
        ...


class Kept:
    """Samples that lie in memory."""

    def __init__(self, name: str, samples: list[Sample]) -> None:
        self.name = name
        self._samples = samples

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each image."""
        return tuple(sample.name for sample in self._samples)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    @classmethod
    def all_of(cls, source: Source) -> 'Kept':
        """Decode a whole source."""
        return cls(source.name, [source[i] for i in range(len(source))])
