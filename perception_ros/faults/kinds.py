"""The kinds of faults: what each can be told, and what it makes of a message that it strikes.

A kind is a class with the keys that a file may give it, and `strike`, which turns a message into
those that come instead of it: none, a changed one, or more. None comes earlier than the message.
Another kind is another class and a line in `AnyFault`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from perception_ros.bags.bag import Message
from perception_ros.core.errors import ImageError
from perception_ros.faults import pictures
from perception_ros.faults.when import When
from perception_ros.ros.cdr import read_header, write_stamp

MS = 1_000_000
LONGEST_MS = 5000.0
"""Of a delay: what is held back is in memory."""

Names = Annotated[tuple[str, ...], Field(strict=False)]
Subject = Literal['any', 'pictures', 'stamped', 'clouds']
"""Messages that a kind can strike: all, images, those with a header, or point clouds."""


@dataclass(slots=True)
class Memory:
    """What a fault remembers of a topic."""

    free_ns: int = 0
    """Nothing comes before this time: it waits behind what was held back."""
    shown: Message | None = None
    """The picture that stays, since the time of the fault that began at `shown_since_ns`."""
    shown_since_ns: int = -1


@dataclass(frozen=True, slots=True)
class Moment:
    """When a message is struck, in ns after the bag's first: now, and since the fault began."""

    since_ns: int
    begun_ns: int


class Fault(When):
    """What all kinds have."""

    cameras: Names = Field((), description='Cameras whose images it strikes; empty: all of them')
    topics: Names = Field((), description='Topics that it strikes, instead of all cameras')

    subject: ClassVar[Subject] = 'any'
    has_span: ClassVar[bool] = False
    """Whether it makes no sense for one message alone."""
    takes_camera_info: ClassVar[bool] = False
    """Whether it strikes the CameraInfo beside the images of a camera too."""

    @model_validator(mode='after')
    def _has_its_span(self) -> Self:
        if self.has_span and self.probability < 1.0 and self.for_s is None:
            raise ValueError('probability: expected for_s with it, which says how long it lasts')
        return self

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Return what comes instead of a message; the message itself where nothing changes."""
        raise NotImplementedError

    def spare(self, message: Message, memory: Memory) -> Sequence[Message]:
        """Return what comes of a message that is not struck, on a topic that might have been."""
        return (message,)

    def reach_ns(self, since_ns: int) -> int:
        """Return from when on messages must be known to tell what comes at `since_ns`."""
        return since_ns


class _Loss(Fault):

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Let it vanish."""
        return ()


class Drop(_Loss):
    """Messages get lost."""

    kind: Literal['drop']


class LoseCamera(_Loss):
    """A camera is away: neither images nor CameraInfo."""

    kind: Literal['lose_camera']

    has_span = True
    takes_camera_info = True


class LoseLidar(_Loss):
    """Point clouds are away, of all LiDARs where no topics are named."""

    kind: Literal['lose_lidar']

    subject = 'clouds'
    has_span = True


class _Queue(Fault):
    """A link that keeps the order: what comes after a late message waits behind it."""

    def spare(self, message: Message, memory: Memory) -> Sequence[Message]:
        """Let it wait until those before it have come."""
        return self._queue(message, 0, memory)

    def _queue(self, message: Message, late_ns: int, memory: Memory) -> Sequence[Message]:
        memory.free_ns = max(message.time_ns + late_ns, memory.free_ns)
        return (_at(message, memory.free_ns),)


class Delay(_Queue):
    """Messages come later, in their order; their stamps stay."""

    kind: Literal['delay']
    by_ms: float = Field(gt=0.0, le=LONGEST_MS, description='How much later, in ms')

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Let it come later."""
        return self._queue(message, round(self.by_ms * MS), memory)

    def reach_ns(self, since_ns: int) -> int:
        """Return when the earliest left that may still be on its way."""
        return since_ns - round(self.by_ms * MS)


class Jitter(_Queue):
    """Each message comes later by chance, in their order; their stamps stay."""

    kind: Literal['jitter']
    max_ms: float = Field(gt=0.0, le=LONGEST_MS, description='How much later at most, in ms')

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Let it come later, all delays up to the greatest being as likely."""
        late = self.chance('jitter', message.topic, moment.since_ns)
        return self._queue(message, round(late * self.max_ms * MS), memory)

    def reach_ns(self, since_ns: int) -> int:
        """Return when the earliest left that may still be on its way."""
        return since_ns - round(self.max_ms * MS)


class Reorder(Fault):
    """Messages come later and do not hold up the others, which overtake them."""

    kind: Literal['reorder']
    by_ms: float = Field(
        gt=0.0, le=LONGEST_MS,
        description='How much later, in ms: more than the interval of the topic to be overtaken',
    )

    @model_validator(mode='after')
    def _leaves_some(self) -> Self:
        if self.probability == 1.0 and self.for_s is None and self.to_s is None:
            raise ValueError(
                'probability: expected less than 1, or times: nothing overtakes if all are late'
            )
        return self

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Let it come later than it would in its turn."""
        return (_at(message, message.time_ns + round(self.by_ms * MS)),)

    def reach_ns(self, since_ns: int) -> int:
        """Return when the earliest left that may still be on its way."""
        return since_ns - round(self.by_ms * MS)


class Duplicate(Fault):
    """Messages come twice, with the same stamp."""

    kind: Literal['duplicate']
    after_ms: float = Field(
        0.0, ge=0.0, le=500.0, description='How much later than the first the second comes, in ms'
    )

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Let it come once more."""
        copy = message._replace(time_ns=message.time_ns + round(self.after_ms * MS))
        return message, copy

    def reach_ns(self, since_ns: int) -> int:
        """Return when the earliest left whose copy may still be on its way."""
        return since_ns - round(self.after_ms * MS)


class Freeze(Fault):
    """A camera gives the first picture of the time again and again, under new stamps."""

    kind: Literal['freeze']

    subject = 'pictures'
    has_span = True

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Show the picture that stays; the first one is it."""
        if memory.shown is None or memory.shown_since_ns != moment.begun_ns \
                or memory.shown.type != message.type:
            memory.shown, memory.shown_since_ns = message, moment.begun_ns
            return (message,)
        try:
            stamp_ns = read_header(message.data, message.type).stamp_ns
            data = write_stamp(memory.shown.data, memory.shown.type, stamp_ns)
        except ImageError:
            return (message,)
        return (message._replace(data=data),)

    def reach_ns(self, since_ns: int) -> int:
        """Return when the picture came that is shown."""
        begun_ns = self.begun_ns(since_ns)
        return since_ns if begun_ns is None else begun_ns


class Corrupt(Fault):
    """Images are damaged on their way."""

    kind: Literal['corrupt']
    how: Literal['truncate', 'bytes', 'size'] = Field(
        'truncate',
        description='truncate: the end of the data is missing; bytes: some in a row are others; '
        'size: the width or height is wrong',
    )
    share: float = Field(
        0.5, gt=0.0, le=1.0, description='Of the data that is missing or damaged'
    )

    subject = 'pictures'

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Damage it."""
        if self.how == 'truncate':
            return (pictures.truncate(message, self.share),)
        if self.how == 'size':
            return (pictures.missize(message),)
        where = self.chance('where', message.topic, moment.since_ns)
        return (pictures.overwrite(message, self.share, where),)


class Darken(Fault):
    """Images are darker than they should be."""

    kind: Literal['darken']
    brightness: float = Field(
        0.1, ge=0.0, lt=1.0, description='What is left of it, 1 being all'
    )

    subject = 'pictures'

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Take its light."""
        return (pictures.darken(message, self.brightness),)


class Blind(Fault):
    """A camera sees nothing, in all of the image or from its left edge on."""

    kind: Literal['blind']
    how: Literal['black', 'white', 'covered'] = Field(
        'black',
        description='black: no light; white: too much of it; covered: something close before the '
        'lens, dark and of the mean colour of the image',
    )
    share: float = Field(1.0, gt=0.0, le=1.0, description='Of the width, from the left')

    subject = 'pictures'

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Paint over it."""
        return (pictures.blind(message, self.how, self.share),)


class _Clock(Fault):
    """A clock that is wrong: messages come when they did, under other stamps."""

    subject = 'stamped'
    has_span = True
    takes_camera_info = True

    def strike(self, message: Message, moment: Moment, memory: Memory) -> Sequence[Message]:
        """Change its stamp, and no other byte."""
        try:
            stamp_ns = read_header(message.data, message.type).stamp_ns + self.shift_ns(moment)
            data = write_stamp(message.data, message.type, stamp_ns)
        except ImageError:
            return (message,)
        return (message._replace(data=data),)

    def shift_ns(self, moment: Moment) -> int:
        """Return what is added to a stamp."""
        raise NotImplementedError


class Skew(_Clock):
    """The clock of a camera is off, and perhaps goes too fast or too slow."""

    kind: Literal['skew']
    offset_ms: float = Field(
        0.0, ge=-3.6e6, le=3.6e6, description='Added to its stamps, in ms'
    )
    drift_ppm: float = Field(
        0.0, ge=-1e5, le=1e5, description='Added for each second of the fault, in µs'
    )

    @model_validator(mode='after')
    def _is_off(self) -> Self:
        if not self.offset_ms and not self.drift_ppm:
            raise ValueError('expected offset_ms or drift_ppm, got neither')
        return self

    def shift_ns(self, moment: Moment) -> int:
        """Return the offset, and what the drift has come to."""
        drifted_ns = (moment.since_ns - moment.begun_ns) * self.drift_ppm * 1e-6
        return round(self.offset_ms * MS + drifted_ns)


class Jump(_Clock):
    """The time of all cameras jumps; it jumps back at the end of the fault."""

    kind: Literal['jump']
    by_s: float = Field(ge=-1e8, le=1e8, description='Added to stamps, in s; less than 0: back')

    @model_validator(mode='after')
    def _jumps(self) -> Self:
        if not self.by_s:
            raise ValueError('by_s: expected more or less than 0, got 0')
        return self

    def shift_ns(self, moment: Moment) -> int:
        """Return the length of the jump."""
        return round(self.by_s * 1e9)


AnyFault = Annotated[
    Drop | Delay | Jitter | Duplicate | Reorder | Freeze | Corrupt | Darken | Blind | Skew | Jump
    | LoseCamera | LoseLidar,
    Field(discriminator='kind'),
]


def _at(message: Message, time_ns: int) -> Message:
    return message if time_ns == message.time_ns else message._replace(time_ns=time_ns)
