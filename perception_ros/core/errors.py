"""Every error that this package raises on purpose, in one tree.

A message says what was expected, what came, and how to mend it.
"""


class PerceptionError(Exception):
    """Root of the tree: catch this to catch all that this package raises on purpose."""


class ConfigError(PerceptionError):
    """A parameter or a configuration file cannot be used."""


class ImageError(PerceptionError):
    """An image cannot be decoded, or its description contradicts its bytes."""


class BagError(PerceptionError):
    """A bag cannot be read or written, or does not hold what was asked of it."""


class ReplayError(PerceptionError):
    """A bag cannot be replayed as asked, or the results of a replay cannot be used."""


class BundleError(PerceptionError):
    """A bundle is missing, damaged, or breaks the bundle contract."""


class ImportModelError(PerceptionError):
    """A foreign model cannot be turned into a bundle."""


class DatasetError(PerceptionError):
    """Labelled data are missing, damaged, or share no class with the model."""


class BackendError(PerceptionError):
    """An engine cannot be opened, or failed while it ran."""


class BenchmarkError(PerceptionError):
    """A benchmark cannot be run, or a process that it measures has failed."""


class NotInstalledError(BackendError):
    """The runtime of a backend, or the driver that it needs, is not installed."""


class NoSuchDeviceError(BackendError):
    """The name of a device means nothing to a backend."""


class QuantizationError(PerceptionError):
    """A bundle cannot be put into another precision, or would lose too much by it."""


class WatchError(PerceptionError):
    """The node that was to be watched is not heard."""


class FusionError(PerceptionError):
    """LiDAR and cameras cannot be brought together as asked."""


class PointCloudError(FusionError):
    """A point cloud contradicts itself, or does not say where its points are."""


class CalibrationError(FusionError):
    """What is said about a camera's lens or place cannot be used."""


class TransformError(FusionError):
    """A frame is not known, not connected, or what is said about it contradicts the rest."""


class ExtrapolationError(TransformError):
    """A transform was asked for at a time for which nothing is known.

    ahead_ns: how long after the newest that is known (> 0), or before the oldest (< 0).
    """

    def __init__(self, message: str, ahead_ns: int) -> None:
        super().__init__(message)
        self.ahead_ns = ahead_ns
