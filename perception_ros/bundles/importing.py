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
from perception_ros.bundles.families import AUTO, Family, family_of, Plan, recognise
from perception_ros.bundles.families.base import chosen
from perception_ros.bundles.graph.assemble import assemble
from perception_ros.bundles.graph.foreign import ForeignGraph, precision_of
from perception_ros.bundles.graph.read import read_foreign
from perception_ros.bundles.manifest import (
    GraphInfo,
    InputInfo,
    LicenceInfo,
    Manifest,
    ProvenanceInfo,
)
from perception_ros.bundles.options import ImportOptions, Tolerance, TOLERANCES
from perception_ros.bundles.proof import BATCH_SIZES, Proof, prove, synthetic_images
from perception_ros.bundles.session import Answer, Session
from perception_ros.core.errors import ImportModelError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox
from perception_ros.core.strict import problems


def import_model(
    source: Path,
    output: Path,
    *,
    family: str = AUTO,
    options: ImportOptions = ImportOptions(),  # noqa: B008 - frozen, so safe to share
    images: Sequence[Image] = (),
    overwrite: bool = False,
    report: Callable[[Proof], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> Bundle:
    """Turn a foreign model into a bundle, and prove that it still gives the same answers.

    The original is run image by image by its family's own recipe, the bundle at batch sizes 1, 2
    and 5, both by ONNX Runtime on the CPU. Nothing is written unless they agree.

    :param source: the ONNX file: one input, float [B, 3, H, W] or [B, H, W, 3].
    :param output: folder of the bundle.
    :param family: one of `families.FAMILIES` or `ALIASES`; `auto` recognises it.
    :param images: what the proof is made on; none: seeded synthetic images.
    :param overwrite: whether a bundle at `output` is replaced.
    :param report: gets the proof before it is judged.
    :param announce: told in sentences why the family was chosen, and what a user should know.
    :raises ImportModelError: the model does not fit the family, or the answers differ.
    :raises BundleError: something is in the way at `output`.
    """
    tell = announce or (lambda sentence: None)
    check_target(output, overwrite)
    kind = None if family == AUTO else family_of(family)
    foreign = read_foreign(source, options.input_size)
    if kind is None:
        recognition = recognise(foreign)
        tell(str(recognition))
        kind = recognition.family
    with values_refused():
        pixels = chosen(kind.pixels, options.pixels)
        plan = kind.plan(foreign, options)
        notes = list(plan.notes)
        if plan.network is foreign:
            plan.network, why = _with_batch(foreign, options)
            notes += [why] if why else []
        draft = _manifest(source, output.name, kind, foreign, plan, options)
    for note in notes:
        tell(note)
    pictures, described = _pictures(images, draft)
    tolerance = options.tolerance or TOLERANCES[draft.precision]

    def made() -> tuple[bytes, Proof]:
        payload = assemble(plan.network, pixels, plan.nodes, expected_outputs(draft))
        return payload, prove(payload, plan, pixels, pictures, tolerance, described)

    payload, proof = made()
    if options.batch == 'auto' and proof.fails_in_batches and not plan.network.looped:
        # Noise, on which the batch was tried, may look to a network like more noise.
        plan.network, why = _looped(foreign, 'several images at once get other answers than one')
        notes.append(why)
        tell(why)
        payload, proof = made()
    manifest = draft.model_copy(update={'graph': GraphInfo.of(payload)})
    if report:
        report(proof)
    proof.require()
    if proof.found == 0:
        notes.append(
            'the original finds nothing in these images, so that no box could be compared: give '
            'images with what it was trained on (--verify).'
        )
        tell(notes[-1])
    card = options.card or write_card(manifest, proof, notes)
    return write_bundle(output, manifest, payload, card, overwrite=overwrite)


def _with_batch(foreign: ForeignGraph, options: ImportOptions) -> tuple[ForeignGraph, str]:
    """Return a network that takes any batch, and a sentence if it goes image by image."""
    if not foreign.batched:
        raise ImportModelError(
            'expected an input with a batch, [B, 3, H, W], got one without; export the model '
            'with a batch of 1'
        )
    if options.batch == 'loop':
        asked = 'the graph runs image by image, as was asked for: a batch is no faster.'
        return foreign.in_a_loop(), asked
    trouble = _trouble_with_two(foreign)
    if not trouble:
        return foreign, ''
    if (rewritten := foreign.rewritten()) and not _trouble_with_two(rewritten):
        return rewritten, ''
    if options.batch == 'dynamic':
        return foreign, ''  # the proof says what differs
    return _looped(foreign, trouble)


def _looped(foreign: ForeignGraph, trouble: str) -> tuple[ForeignGraph, str]:
    return foreign.in_a_loop(), (
        f'the batch cannot be made dynamic ({trouble}), so that the graph runs image by image: a '
        'batch is no faster, and some engines may refuse it. Export the model with a dynamic '
        'batch for more speed.'
    )


def _trouble_with_two(foreign: ForeignGraph) -> str:
    """Say what goes wrong with two images at once; nothing if they get their own answers."""
    noise = np.random.default_rng(1).random((2, 3, foreign.height, foreign.width), np.float32)
    alone = [foreign.run_one(image) for image in noise]
    try:
        network = Session(foreign.model.SerializeToString(), 'the network with its batch')
        together = network.each(foreign.input_name, foreign.feed(noise), 2)
    except ImportModelError as error:
        return ' '.join(str(error).split())
    return _difference(alone, together, TOLERANCES[precision_of(foreign.original)])


def _difference(alone: Sequence[Answer], together: Sequence[Answer], tolerance: Tolerance) -> str:
    """Say which output differs between one image at a time and two at once."""
    for one, two in zip(alone, together, strict=True):
        for name, value in one.items():
            want = np.atleast_1d(value[0].astype(np.float32))
            got = np.atleast_1d(two[name].astype(np.float32))
            if want.shape != got.shape:
                return f'output {name!r} has another shape at batch 2'
            scale = max(float(np.abs(want).max(initial=0)), 1e-6)
            if want.ndim <= 2:
                # Detections that the network sorts itself may swap places: that is no trouble.
                want, got = np.sort(want, axis=0), np.sort(got, axis=0)
            if np.abs(want - got).mean() > tolerance.raw * scale:
                return f'output {name!r} depends on the other images of its batch'
    return ''


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
            letterbox=chosen(kind.letterbox, options.letterbox),
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
