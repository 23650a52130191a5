"""Foreign models to run beside our own, imported once where their ONNX files are at hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from perception_ros.bundles.importing import import_model
from perception_ros.bundles.manifest import LicenceInfo, MANIFEST_NAME, ProvenanceInfo
from perception_ros.bundles.options import HeadOptions, ImportOptions
from perception_ros.core.errors import ConfigError

DETECTOR = 'yolox_nano'
SEGMENTER = 'twinlitenet'

_FAMILIES = {DETECTOR: 'yolox', SEGMENTER: 'semantic'}
_OPTIONS = {
    DETECTOR: ImportOptions(
        provenance=ProvenanceInfo(source='YOLOX-nano, Megvii', data='COCO 2017'),
        licence=LicenceInfo(weights='Apache-2.0', data='COCO terms of use'),
    ),
    SEGMENTER: ImportOptions(
        heads={
            'drivable': HeadOptions('da', ('background', 'drivable')),
            'lane': HeadOptions('ll', ('background', 'lane')),
        },
        provenance=ProvenanceInfo(source='TwinLiteNet', data='BDD100K'),
        licence=LicenceInfo(weights='MIT', data='BDD100K terms of use'),
    ),
}


def find_references(folder: Path) -> list[str]:
    """Return the names of the known models whose ONNX files lie in `folder`."""
    return [name for name in _FAMILIES if (folder / f'{name}.onnx').is_file()]


def import_reference(
    name: str, folder: Path, cache: Path, announce: Callable[[str], None]
) -> Path:
    """Return the bundle of a model of `find_references`, imported anew only if it is older.

    :param announce: told what is done, as the proof of an import may take a minute.
    :raises ImportModelError: the file does not hold what its name says.
    :raises ConfigError: `cache` cannot be written to.
    """
    source, bundle = folder / f'{name}.onnx', cache / name
    manifest = bundle / MANIFEST_NAME
    if not manifest.is_file() or manifest.stat().st_mtime < source.stat().st_mtime:
        announce(f'importing {name} and proving that it answers as before (once)')
        try:
            cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f'{cache}: expected a folder to keep imported models in; {error.strerror}. Start '
                'the demonstration where you may write, or name bundles with --models'
            ) from error
        import_model(
            source, bundle, family=_FAMILIES[name], options=_OPTIONS[name], overwrite=True
        )
    return bundle
