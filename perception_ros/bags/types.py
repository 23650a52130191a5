"""Message types: those of the bag, else ROS 2's own; bytes into message objects and back."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import Any, cast

from rosbags.typesys import get_types_from_idl, get_types_from_msg, get_typestore, Stores
from rosbags.typesys.store import Typestore

from perception_ros.bags.store import Definition
from perception_ros.core.errors import BagError

HEADER = 'std_msgs/msg/Header'
_BASICS = (HEADER, 'builtin_interfaces/msg/Time', 'builtin_interfaces/msg/Duration')
"""What definitions of ROS 1 use without describing it."""

_VISION = {
    'Point2D': 'float64 x\nfloat64 y',
    'Pose2D': 'vision_msgs/Point2D position\nfloat64 theta',
    'BoundingBox2D': 'vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y',
    'BoundingBox3D': 'geometry_msgs/Pose center\ngeometry_msgs/Vector3 size',
    'ObjectHypothesis': 'string class_id\nfloat64 score',
    'ObjectHypothesisWithPose': (
        'vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose'
    ),
    'Detection2D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox2D bbox\nstring id'
    ),
    'Detection2DArray': 'std_msgs/Header header\nvision_msgs/Detection2D[] detections',
    'Detection3D': (
        'std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n'
        'vision_msgs/BoundingBox3D bbox\nstring id'
    ),
    'Detection3DArray': 'std_msgs/Header header\nvision_msgs/Detection3D[] detections',
    'VisionClass': 'uint16 class_id\nstring class_name',
    'LabelInfo': (
        'std_msgs/Header header\nvision_msgs/VisionClass[] class_map\nfloat32 threshold'
    ),
}
"""The part of vision_msgs 4 that is read and written here, which the library does not know."""

_FOXGLOVE = {
    'Point2': 'float64 x\nfloat64 y',
    'Color': 'float64 r\nfloat64 g\nfloat64 b\nfloat64 a',
    'CircleAnnotation': (
        'builtin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\nfloat64 diameter\n'
        'float64 thickness\nfoxglove_msgs/Color fill_color\nfoxglove_msgs/Color outline_color'
    ),
    'PointsAnnotation': (
        'builtin_interfaces/Time timestamp\nuint8 type\nfoxglove_msgs/Point2[] points\n'
        'foxglove_msgs/Color outline_color\nfoxglove_msgs/Color[] outline_colors\n'
        'foxglove_msgs/Color fill_color\nfloat64 thickness'
    ),
    'TextAnnotation': (
        'builtin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\nstring text\n'
        'float64 font_size\nfoxglove_msgs/Color text_color\nfoxglove_msgs/Color background_color'
    ),
    'ImageAnnotations': (
        'foxglove_msgs/CircleAnnotation[] circles\nfoxglove_msgs/PointsAnnotation[] points\n'
        'foxglove_msgs/TextAnnotation[] texts'
    ),
}
"""What Foxglove draws over images. Source: its documentation of message schemas."""


@cache
def standard() -> Typestore:
    """Return the types of ROS 2, vision_msgs and Foxglove; nothing is ever added to them."""
    store = get_typestore(Stores.LATEST)
    types: Any = {}
    for package, definitions in (('vision_msgs', _VISION), ('foxglove_msgs', _FOXGLOVE)):
        for name, text in definitions.items():
            types.update(get_types_from_msg(text, f'{package}/msg/{name}'))
    store.register(types)
    return store


class Types:
    """The types of one bag. A type that it does not describe is ROS 2's own of that name."""

    def __init__(self) -> None:
        self._known = get_typestore(Stores.EMPTY)
        self._known.fielddefs.update(standard().fielddefs)
        self._known.types.update(standard().types)
        self._apart: dict[str, Typestore] = {}
        """Types that this bag describes otherwise than ROS 2 does."""

    def describe(self, name: str, definition: Definition) -> None:
        """Learn what the bag says about a type.

        :raises BagError: the definition cannot be read.
        """
        if not definition.form:
            return
        try:
            # ROS 1 counts headers; what is read here has been put into the form of ROS 2
            parsed = _parse(name, definition)
            types = {key: about for key, about in parsed.items() if key != HEADER}
            if all(_fields(about) == _fields(self._known.fielddefs.get(key))
                   for key, about in types.items()):
                return  # nearly always, and registering compiles code
            try:
                self._known.register(types)
            except Exception:  # of that name, and another
                apart = get_typestore(Stores.EMPTY)
                apart.register({basic: self._known.fielddefs[basic] for basic in _BASICS})
                apart.register(types)
                self._apart[name] = apart
        except Exception as error:  # the parser raises many kinds
            raise BagError(f'the definition of {name} cannot be read: {error}') from error

    def decode(self, name: str, data: bytes | memoryview) -> Any:
        """Return the message that CDR bytes hold; arrays of numbers are views of them.

        :raises BagError: they are no such message, or nothing is known of its type.
        """
        store = self._store(name)
        try:
            return store.deserialize_cdr(data, name)
        except Exception as error:  # bytes of another type may break anything
            raise BagError(f'{len(data)} bytes are no {name}: {error}') from error

    def from_ros1(self, name: str, data: bytes | memoryview) -> memoryview:
        """Return a message of ROS 1 as CDR.

        :raises BagError: as `decode`.
        """
        store = self._store(name)
        try:
            return store.ros1_to_cdr(data, name)
        except Exception as error:
            raise BagError(f'{len(data)} bytes are no {name} of ROS 1: {error}') from error

    def starts_with_header(self, name: str) -> bool:
        """Return whether messages of a type start with a std_msgs/Header."""
        try:
            fields = self._store(name).fielddefs[name][1]
        except BagError:
            return False
        return bool(fields) and cast(Any, fields[0][1][1]) == HEADER

    def described(self, name: str) -> tuple[str, str]:
        """Return the definition of a type, for ROS 2, and its hash (REP-2011).

        :raises BagError: nothing is known of it.
        """
        store = self._store(name)
        return store.generate_msgdef(name, ros_version=2)[0], store.hash_rihs01(name)

    def _store(self, name: str) -> Typestore:
        store = self._apart.get(name, self._known)
        if name not in store.fielddefs:
            raise BagError(
                f'nothing is known of the message type {name}; expected its definition in the bag'
            )
        return store


def _fields(about: Any) -> Any:
    """Return the fields of a type; ROS 1 writes some in upper case."""
    return about and [(field.lower(), kind) for field, kind in about[1]]


@lru_cache(maxsize=256)
def _parse(name: str, definition: Definition) -> Any:
    if definition.form == 'msg':
        return get_types_from_msg(definition.text, name)
    types: Any = {}
    separator = '=' * 80 + '\n'
    parts = [part for part in definition.text.split(separator) if part.strip()]
    for part in parts:
        head, _, text = part.partition('\n')
        types.update(get_types_from_idl(text if head.startswith('IDL: ') else part))
    return types
