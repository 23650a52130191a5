"""What a bundle's graph must look like from outside, and the check that it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perception_ros.bundles.graph.tensors import outside
from perception_ros.bundles.manifest import Manifest
from perception_ros.core.errors import BundleError

if TYPE_CHECKING:
    import onnx

INPUT_NAME = 'images'
LEAST_SCORE = 0.001
"""Boxes below this score are not worth publishing at any threshold."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Type and shape of a graph's input or output; the first axis is the batch, None = dynamic."""

    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        """Return, for instance, 'float32 [B, 300, 4]'."""
        return f'{self.dtype} [{", ".join("B" if n is None else str(n) for n in self.shape)}]'


def expected_input(manifest: Manifest) -> TensorSpec:
    """Return what `images` must be."""
    return TensorSpec('uint8', (None, manifest.input.height, manifest.input.width, 3))


def expected_outputs(manifest: Manifest) -> dict[str, TensorSpec]:
    """Return what each output must be, by name."""
    outputs: dict[str, TensorSpec] = {}
    if detection := manifest.detection:
        n = detection.max_detections
        outputs['boxes'] = TensorSpec('float32', (None, n, 4))
        outputs['scores'] = TensorSpec('float32', (None, n))
        outputs['labels'] = TensorSpec('int32', (None, n))
        if masks := detection.masks:
            outputs['masks'] = TensorSpec('float32', (None, n, masks.height, masks.width))
    for head, info in manifest.semantic.items():
        cells = (manifest.input.height // info.stride, manifest.input.width // info.stride)
        outputs[f'semantic_{head}'] = TensorSpec('uint8', (None, *cells))
    return outputs


def check_graph(payload: bytes, manifest: Manifest, origin: str) -> None:
    """Check a serialised graph against the manifest; `origin` names the file in errors.

    :raises BundleError: with one line for each input or output that breaks the contract.
    """
    graph = _parse(payload, origin).graph
    initializers = {item.name for item in graph.initializer}
    inputs = {i.name: _describe(i) for i in graph.input if i.name not in initializers}
    outputs = {o.name: _describe(o) for o in graph.output}
    problems = [
        *differences('input', {INPUT_NAME: expected_input(manifest)}, inputs),
        *differences('output', expected_outputs(manifest), outputs),
    ]
    if problems:
        raise BundleError(
            f'{origin} breaks the bundle contract: ' + '; '.join(problems) + '; export it anew, '
            'or mend bundle.yaml (docs/bundles.md has the contract)'
        )


def _parse(payload: bytes, origin: str) -> onnx.ModelProto:
    import onnx  # here: who only names the contract's types need not wait for it

    try:
        model = onnx.load_from_string(payload)
    except Exception as error:  # protobuf's DecodeError
        raise BundleError(
            f'{origin}: expected an ONNX graph, got {len(payload)} bytes that are none; {error}'
        ) from error
    for name in outside(model):
        raise BundleError(
            f'{origin}: expected all weights in the file, where the SHA-256 covers them; got '
            f'{name!r} outside of it: save the graph without external data'
        )
    return model


def _describe(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(
        dim.dim_value if dim.HasField('dim_value') else None for dim in tensor.shape.dim
    )
    elem = str(onnx.TensorProto.DataType.Name(tensor.elem_type)).lower()
    return TensorSpec({'float': 'float32', 'double': 'float64'}.get(elem, elem), shape)


def differences(
    kind: str, expected: Mapping[str, TensorSpec], came: Mapping[str, TensorSpec]
) -> list[str]:
    """Return one line for each input or output (`kind`) that is not as expected."""
    problems = []
    for name, spec in expected.items():
        if name not in came:
            problems.append(f'{kind} {name!r}: expected {spec}, got none (has {sorted(came)})')
        elif came[name] != spec:
            problems.append(f'{kind} {name!r}: expected {spec}, got {_readable(came[name])}')
    for name in sorted(set(came) - set(expected)):
        extra = _readable(came[name])
        problems.append(f'{kind} {name!r}: not declared in bundle.yaml, got {extra}')
    return problems


def _readable(spec: TensorSpec) -> str:
    """Say what is dynamic or static where that is the point: only the batch may be dynamic."""
    shape = ['?' if n is None else str(n) for n in spec.shape]
    if spec.shape and spec.shape[0] is None:
        shape[0] = 'B'
    note = ' (batch is static)' if spec.shape and spec.shape[0] is not None else ''
    if any(n is None for n in spec.shape[1:]):
        note = ' (? = not fixed)'
    return f'{spec.dtype} [{", ".join(shape)}]{note}'
