"""What is sent to whom, and for how long: the plan of a measurement, and part of its report."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from perception_ros.benchmarks.report import Strict

Encoding = Literal['raw', 'jpeg']
Reliability = Literal['best_effort', 'reliable']
Transport = Literal['default', 'profile']
"""`default`: the RMW as it comes; `profile`: with config/fastdds.xml for all processes."""

Absence = tuple[str, float, float]
"""A camera that is gone: its name, from and to, in seconds of the time that counts."""

RATE_KEPT = 0.98
"""Of what was asked for: a sender that is slower did not send what the report says."""


class Stream(Strict):
    """Camera images that are sent: the same few pictures over and over, each with a new stamp."""

    cameras: int = Field(ge=1, le=64)
    width: int = Field(ge=16, le=16384, description='px')
    height: int = Field(ge=16, le=16384, description='px')
    rate_hz: float = Field(gt=0, le=1000, description='Of each camera; all send at once')
    encoding: Encoding = Field(default='raw', description='raw: bgr8; jpeg: of quality 90')
    reliability: Reliability = Field(
        default='reliable',
        description='Of publishers and subscribers; on the default transport best effort loses '
        'most images of a megabyte or more',
    )
    senders: Literal['one', 'each'] = Field(
        default='one',
        description='one: one process sends for all cameras; each: every camera has its own',
    )
    images: str = Field(
        default='', description='Folder, video or picture that they show; empty: drawn'
    )

    sender: ClassVar[str] = 'rig.sender'
    """The module that sends it."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(f'camera{number}' for number in range(1, self.cameras + 1))

    def topic(self, camera: str) -> str:
        """Return the topic of a camera, as the node takes it by default."""
        return f'/{camera}/image_raw' + ('/compressed' if self.encoding == 'jpeg' else '')


class Vehicle(Stream):
    """A LiDAR, and instead of images what a perception node says of each of them."""

    masks: bool = Field(description='Whether there is a semantic mask of each, beside the boxes')
    result_delay_ms: float = Field(
        ge=0, le=1000, description='How long after its image a result comes'
    )
    lidar_hz: float = Field(gt=0, le=100, description='Sweeps; rate_hz is a multiple of it')
    points: int = Field(ge=64, le=1_000_000, description='Of a sweep')

    sender: ClassVar[str] = 'rig.vehicle'


class Serving(Strict):
    """The engine that all sides use, each an own one."""

    bundle: str = Field(description='Name or folder')
    backend: str
    fake_ms: float = Field(default=0.0, ge=0, description='Time of a call of the fake backend')
    max_batch: int = Field(ge=1, le=256, description='Of the node and of the bare engine')


class Timing(Strict):
    """How long it is measured."""

    rounds: int = Field(ge=1, description='In each, every side has its turn')
    warm_up_s: float = Field(ge=0, description='Images are sent for so long before a turn counts')
    seconds: float = Field(gt=0, description='Of a turn that count')
    deadline_ms: float | None = Field(
        default=None, gt=0,
        description='Results that come later than that after their stamp are late; null: none',
    )
