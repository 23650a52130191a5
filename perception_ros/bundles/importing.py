"""Foreign ONNX graph in, bundle out: read, plan, assemble, prove, write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import onnx
from pydantic import ValidationError

from perception_ros.bundles.bundle import Bundle, check_target, write_bundle
from perception_ros.bundles.card import write_card
from perception_ros.bundles.contract import expected_outputs
from perception_ros.bundles.families import Family, family_of, Plan
from perception_ros.bundles.graph.assemble import assemble
from perception_ros.bundles.graph.foreign import ForeignGraph, precision_of, read_foreign
from perception_ros.bundles.manifest import (
    GraphInfo,
    InputInfo,
    LicenceInfo,
    Manifest,
    problems,
    ProvenanceInfo,
)
from perception_ros.bundles.options import ImportOptions, TOLERANCES
from perception_ros.bundles.proof import BATCH_SIZES, Proof, prove, synthetic_images
from perception_ros.core.errors import ImportModelError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox


def import_model(
    source: Path,
    output: Path,
    *,
    family: str,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - frozen, so safe to share
    images: Sequence[Image] = (),
    overwrite: bool = False,
    report: Callable[[Proof], None] | None = None,
) -> Bundle:
    """Turn a foreign model into a bundle, and prove that it still gives the same answers.

    The original is run image by image by its family's own recipe, the bundle at batch sizes 1, 2
    and 5, both by ONNX Runtime on the CPU. Nothing is written unless they agree.

    :param source: the ONNX file: one input, float [B, 3, H, W]; a batch of 1 is made dynamic.
    :param output: folder of the bundle.
    :param family: `yolox`, `semantic` or `decoded`; see `families.FAMILIES`.
    :param images: what the proof is made on; none: seeded synthetic images.
    :param overwrite: whether a bundle at `output` is replaced.
    :param report: gets the proof before it is judged.
    :raises ImportModelError: the model does not fit the family, or the answers differ.
    :raises BundleError: something is in the way at `output`.
    """
    check_target(output, overwrite)
    kind = family_of(family)
    foreign = read_foreign(source, options.input_size)
    with values_refused():
        plan = kind.plan(foreign, options)
        draft = _manifest(source, output.name, kind, foreign, plan, options)
    pixels = options.pixels or kind.pixels
    payload = assemble(foreign, pixels, plan.nodes, expected_outputs(draft))
    manifest = draft.model_copy(update={'graph': GraphInfo.of(payload)})
    pictures, described = _pictures(images, manifest)
    tolerance = options.tolerance or TOLERANCES[manifest.precision]
    proof = prove(payload, foreign, plan, pixels, pictures, tolerance, described)
    if report:
        report(proof)
    proof.require()
    card = options.card or write_card(manifest, proof)
    return write_bundle(output, manifest, payload, card, overwrite=overwrite)


@contextmanager
def values_refused() -> Iterator[None]:
    """Say in this package's words what a manifest's models refuse."""
    try:
        yield
    except ValidationError as error:
        raise ImportModelError('; '.join(problems(error))) from error


def _manifest(
    source: Path,
    folder: str,
    kind: Family,
    foreign: ForeignGraph,
    plan: Plan,
    options: ImportOptions,
) -> Manifest:
    """Return the manifest, all but the graph's checksum."""
    name = options.name or folder
    producer = f'{foreign.original.producer_name} {foreign.original.producer_version}'.strip()
    provenance = options.provenance or ProvenanceInfo(source=source.name, data='unknown')
    tools = {'onnx': onnx.__version__, **({'exporter': producer} if producer else {})}
    provenance = provenance.model_copy(update={'tools': {**tools, **provenance.tools}})
    return Manifest(
        name=name,
        description=options.description or f'{source.name}, imported as {kind.name}.',
        input=InputInfo(
            width=foreign.width,
            height=foreign.height,
            letterbox=options.letterbox or kind.letterbox,
        ),
        detection=plan.detection,
        semantic=plan.semantic,
        precision=precision_of(foreign.original),
        graph=GraphInfo.of(b''),
        provenance=provenance,
        licence=options.licence or LicenceInfo(weights='unknown', data='unknown'),
    )


def _pictures(images: Sequence[Image], manifest: Manifest) -> tuple[NDArray[np.uint8], str]:
    """Return letterboxed images, at least as many as the greatest batch, and what they are."""
    width, height = manifest.input.width, manifest.input.height
    least = max(BATCH_SIZES)
    if not images:
        return synthetic_images(least, height, width), f'{least} synthetic images'
    pictures = np.empty((max(len(images), least), height, width, 3), np.uint8)
    for i, picture in enumerate(pictures):
        image = images[i % len(images)]
        pixels, to_rgb = image.pixels()
        size, policy = (pixels.shape[1], pixels.shape[0]), manifest.input.letterbox.policy
        Letterbox.fit(size, (width, height), policy).write(pixels, to_rgb, picture)
        if i >= len(images):
            # Mirrored, then brightened: a batch of equal images would hide a mixed-up order.
            picture[...] = picture[:, ::-1] if i // len(images) % 2 else picture // 2 + 60
    return pictures, f'{len(images)} given image{"s" if len(images) > 1 else ""}'
