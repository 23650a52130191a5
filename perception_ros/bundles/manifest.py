"""What `bundle.yaml` may say: the one declaration behind validation, JSON Schema and docs.

Everything that a user of a model must know and that the graph cannot say itself: what its numbers
mean, how images are fitted to it, where it comes from and under which licence.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, JsonValue, model_validator, ValidationError
from typing_extensions import Self
import yaml

from perception_ros.core.errors import BundleError
from perception_ros.core.files import read_file
from perception_ros.core.letterbox import LetterboxPolicy
from perception_ros.core.strict import PlainYaml, problems, Strict

MANIFEST_NAME = 'bundle.yaml'
GRAPH_NAME = 'model.onnx'
CARD_NAME = 'CARD.md'
MOST_TEXT = 2**20
"""Bytes of a manifest: a hundred times what one with a thousand classes needs."""

Precision = Literal['fp32', 'fp16', 'int8']
Channel = Annotated[int, Field(ge=0, le=255)]


class ClassInfo(Strict):
    """A class that the model knows; its id is its place in the list."""

    name: str = Field(min_length=1, description='Published as class_id')
    color: tuple[Channel, Channel, Channel] = Field(description='Red, green, blue, 0..255')


def _names_are_unique(classes: tuple[ClassInfo, ...]) -> tuple[ClassInfo, ...]:
    seen: set[str] = set()
    for item in classes:
        if item.name in seen:
            raise ValueError(f'expected class names that differ, got {item.name!r} twice')
        seen.add(item.name)
    return classes


Classes = Annotated[tuple[ClassInfo, ...], Field(min_length=1), AfterValidator(_names_are_unique)]


class LetterboxInfo(Strict):
    """How an image is fitted to the input: scaled with its shape kept, the rest padded."""

    anchor: Literal['center', 'top_left'] = Field(
        default='center', description='Where the image lies'
    )
    pad_value: Channel = Field(default=114, description='Grey value around the image, 0..255')
    upscale: bool = Field(default=True, description='Whether smaller images are enlarged')
    rounding: Literal['nearest', 'down'] = Field(
        default='nearest', description='How the scaled size becomes whole pixels'
    )

    @property
    def policy(self) -> LetterboxPolicy:
        """The same, as the core's letterbox takes it."""
        return LetterboxPolicy(**self.model_dump())


class InputInfo(Strict):
    """The graph's input: uint8 [B, height, width, 3] RGB."""

    width: int = Field(ge=1, le=16384, description='px')
    height: int = Field(ge=1, le=16384, description='px')
    letterbox: LetterboxInfo = LetterboxInfo()


class MaskInfo(Strict):
    """Instance masks: float32 [B, N, height, width], 0..1, relative to the box."""

    height: int = Field(ge=1, description='Cells per box')
    width: int = Field(ge=1, description='Cells per box')


class DetectionInfo(Strict):
    """Outputs `boxes`, `scores` and `labels`, and with `masks` also `masks`."""

    classes: Classes
    max_detections: int = Field(ge=1, le=3840, description='N: boxes per image, padded')
    score_threshold: float = Field(default=0.3, ge=0, le=1, description="The node's default")
    nms_iou: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description='IoU of the suppression in the graph; null: needs none',
    )
    masks: MaskInfo | None = None


class SemanticInfo(Strict):
    """Output `semantic_<head>`: uint8 [B, H / stride, W / stride] class ids, 255 unlabelled."""

    stride: int = Field(ge=1, description='Input pixels per cell; divides width and height')
    classes: Classes

    @model_validator(mode='after')
    def _ids_fit_a_byte(self) -> Self:
        if len(self.classes) > 255:
            raise ValueError(f'expected at most 255 classes, got {len(self.classes)}')
        return self


class GraphInfo(Strict):
    """The ONNX file beside the manifest."""

    file: str = Field(
        default=GRAPH_NAME, pattern=r'^[^/\\]+\.onnx$', description='Name in the folder'
    )
    sha256: str = Field(pattern=r'^[0-9a-f]{64}$', description='Of the whole file, hexadecimal')

    @classmethod
    def of(cls, payload: bytes) -> Self:
        """Return the entry for a graph with these bytes."""
        return cls(file=GRAPH_NAME, sha256=sha256(payload).hexdigest())


class ProvenanceInfo(Strict):
    """Where the weights come from, well enough to judge or repeat them."""

    source: str = Field(min_length=1, description='Who made the weights, or from which file')
    data: str = Field(min_length=1, description='What they were trained on')
    commit: str | None = Field(default=None, description='Commit of the code that made them')
    seed: int | None = Field(default=None, description='Seed of the training run')
    metrics: dict[str, JsonValue] = Field(default_factory=dict, description='Free: name -> value')
    tools: dict[str, str] = Field(default_factory=dict, description='Tool -> version')


class LicenceInfo(Strict):
    """Under which terms the parts may be used."""

    weights: str = Field(min_length=1, description='SPDX identifier or a sentence')
    data: str = Field(min_length=1, description='Terms of the training data')
    notice: str = Field(default='', description='What a user must know besides')


HeadName = Annotated[str, Field(pattern=r'^[a-z][a-z0-9_]*$')]


class Manifest(Strict):
    """A whole `bundle.yaml`."""

    schema_version: Literal[1] = 1
    name: str = Field(pattern=r'^[A-Za-z0-9][A-Za-z0-9_.-]*$')
    description: str = Field(min_length=1)
    input: InputInfo
    detection: DetectionInfo | None = None
    semantic: dict[HeadName, SemanticInfo] = Field(default_factory=dict)
    precision: Precision = Field(default='fp32', description="Of the graph's heavy operators")
    kept_fp32: tuple[str, ...] = Field(
        default=(), description='Nodes with weights that are fp32 although `precision` is lower'
    )
    graph: GraphInfo
    provenance: ProvenanceInfo
    licence: LicenceInfo

    @model_validator(mode='after')
    def _says_something(self) -> Self:
        if self.detection is None and not self.semantic:
            raise ValueError("expected 'detection', 'semantic' or both, got neither")
        for head, info in self.semantic.items():
            for side in ('width', 'height'):
                size = getattr(self.input, side)
                if size % info.stride:
                    raise ValueError(
                        f'semantic.{head}.stride: expected a divisor of input.{side} {size}, '
                        f'got {info.stride}'
                    )
        return self

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model does, in words: 'detection', 'instances', 'semantic:<head>'."""
        tasks = ['detection'] if self.detection else []
        if self.detection and self.detection.masks:
            tasks.append('instances')
        return tuple(tasks + [f'semantic:{head}' for head in self.semantic])

    @property
    def outputs(self) -> frozenset[str]:
        """What the model can say, as parts of topic names: detections, instances, semantic/x."""
        names = {f'semantic/{head}' for head in self.semantic}
        if self.detection:
            names |= {'detections', 'instances'} if self.detection.masks else {'detections'}
        return frozenset(names)

    def to_yaml(self) -> str:
        """Return the text of `bundle.yaml`."""
        # None: short lists such as colours stay on one line, all else is spread out.
        text: str = yaml.safe_dump(
            self.model_dump(mode='json'),
            sort_keys=False,
            default_flow_style=None,
            allow_unicode=True,
            width=96,
        )
        return text

    @classmethod
    def from_yaml(cls, text: str, origin: str = MANIFEST_NAME) -> Self:
        """Parse and validate; `origin` names the file in errors.

        :raises BundleError: naming each wrong key, what was expected and what came.
        """
        try:
            return cls.model_validate(PlainYaml(text).values)
        except ValidationError as error:
            raise BundleError(f'{origin}: ' + '; '.join(problems(error))) from error
        except ValueError as error:
            raise BundleError(f'{origin} is not valid YAML: {error}') from error

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and validate a file.

        :raises BundleError: it cannot be read, or says something wrong.
        """
        try:
            text = read_file(path, MOST_TEXT).decode('utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f'{path}: expected a readable UTF-8 file; {error}') from error
        return cls.from_yaml(text, str(path))
