"""An engine that can be exchanged for another while frames go through it.

`SwitchingEngine` is the mechanism and knows no reasons; who exchanges, when and why is in
`fallback.py`. Its slots are its own. Each borrows a slot of the engine that serves when it is
first touched, and keeps that until it is released: what an engine has begun it also ends. An
engine that serves no more is closed when its last slot came back, in a thread of its own: freeing
a broken device can take long, and the frames go on meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import logging
import threading

import numpy as np
from numpy.typing import NDArray

from perception_ros.backends.base import Degradation, Engine, EngineInfo, Outputs, Request
from perception_ros.backends.slots import CLOSED, NOT_STARTED, SlotEngine, SLOTS
from perception_ros.core.errors import BackendError
from perception_ros.core.image import Image
from perception_ros.core.letterbox import Letterbox

_log = logging.getLogger(__name__)


class SwitchingEngine(SlotEngine):
    """Serves with one engine at a time, which `exchange` replaces.

    :param engine: serves first; it becomes this engine's to close, as all that come after it.
    :param degradation: why it is not the engine that was asked for; None: it is.
    """

    def __init__(self, engine: Engine, degradation: Degradation | None = None) -> None:
        super().__init__(engine.info)
        self._lock = threading.Lock()  # guards all that follows
        self._serving = Member(engine)
        self._retired: list[Member] = []
        self._degradation = degradation
        self._offer(_Slot(self) for _ in range(SLOTS))

    @property
    def serving(self) -> Engine:
        """The engine that serves now; it stays this one's to close."""
        return self._serving.engine

    @property
    def info(self) -> EngineInfo:
        """What the engine is that serves now."""
        return self.serving.info

    @property
    def degradation(self) -> Degradation | None:
        """Why the one that serves is not the engine that was asked for; None: it is."""
        return self._degradation

    def exchange(self, engine: Engine, degradation: Degradation | None = None) -> None:
        """Serve with another engine from now on; what the present one has in hand it finishes.

        :param engine: already warm, so that no frame waits. It is closed at once if it cannot be
            taken.
        :param degradation: why it is not the engine that was asked for; None: it is.
        :raises BackendError: it takes other batches or images than the present one, for which the
            caller has sized its own; or this engine is closed.
        """
        try:
            _check_fits(engine.info, self.info)
            with self._lock:
                if self._closed:
                    raise BackendError(CLOSED)
                before, self._serving = self._serving, Member(engine)
                self._degradation = degradation
                self._retired.append(before)
                if not before.lent:
                    self._begin_closing(before)
        except BackendError:
            engine.close()
            raise

    def borrow(self) -> tuple[Member, Request]:
        """Return the engine that serves and a slot of it, for one of our slots. Never waits.

        :raises BackendError: this engine is closed, or the other one fails.
        """
        with self._lock:
            if self._closed:
                raise BackendError(CLOSED)
            member = self._serving
            member.lent += 1
        try:
            return member, member.engine.request()
        except BackendError as error:
            self.return_slot(member)
            self.ran(member, error)
            raise

    def return_slot(self, member: Member) -> None:
        """Count a slot that was given back to its engine."""
        with self._lock:
            member.lent -= 1
            if member in self._retired and not member.lent:
                self._begin_closing(member)

    def ran(self, member: Member, error: BackendError | None) -> None:
        """Take notice of how a run of an engine ended; the slots call this."""

    def _settle(self) -> None:
        with self._lock:
            closing = [self._begin_closing(m) for m in (*self._retired, self._serving)]
        for thread in closing:
            thread.join()

    def _begin_closing(self, member: Member) -> threading.Thread:
        """Close an engine, once, in a thread, which is returned. Holds the lock."""
        if member.closing is None:
            member.closing = threading.Thread(
                target=self._close_engine, args=(member,), name='close engine', daemon=True
            )
            member.closing.start()
        return member.closing

    def _close_engine(self, member: Member) -> None:
        try:
            member.engine.close()
        except Exception as error:  # of a runtime whose device is gone, most likely
            _log.warning('%s could not be closed: %s', member.engine.info.backend, error)
        with self._lock:
            if member in self._retired:
                self._retired.remove(member)  # and with it the engine's buffers


@dataclass(slots=True, eq=False)
class Member:
    """One of the engines."""

    engine: Engine
    lent: int = 0
    """How many of its slots are in use."""
    closing: threading.Thread | None = None


class _Slot(Request):
    """A slot that borrows one of the engine that serves when it is first touched."""

    def __init__(self, owner: SwitchingEngine) -> None:
        self._owner = owner
        self._borrowed: tuple[Member, Request] | None = None

    @property
    def images(self) -> NDArray[np.uint8]:
        """Input, uint8 [max_batch, H, W, 3] RGB, the same array until `release`."""
        _, request = self._borrow()
        return request.images

    @property
    def letterboxes_on_cpu(self) -> bool:
        """Whether the engine that serves letterboxes on the CPU."""
        _, request = self._borrow()
        return request.letterboxes_on_cpu

    def write(self, index: int, image: Image, letterbox: Letterbox) -> None:
        """Letterbox a camera's image into place `index`, wherever the engine does that."""
        with self._watched() as request:
            request.write(index, image, letterbox)

    def start(self, batch_size: int) -> None:
        """Begin a run of the first `batch_size` images."""
        with self._watched() as request:
            request.start(batch_size)

    def result(self) -> Outputs:
        """Wait for the run and return its outputs."""
        if self._borrowed is None:
            raise BackendError(NOT_STARTED)
        with self._watched() as request:
            outputs = request.result()
        self._owner.ran(self._borrowed[0], None)
        return outputs

    def release(self) -> None:
        """Give back what was borrowed, and then itself."""
        if self._borrowed is not None:
            member, request = self._borrowed
            self._borrowed = None
            try:
                request.release()
            finally:  # a device that is gone must not take our slots with it
                self._owner.return_slot(member)
                self._owner.give_back(self)
        else:
            self._owner.give_back(self)

    @contextmanager
    def _watched(self) -> Iterator[Request]:
        """Give the borrowed slot, and tell of an error of its engine."""
        member, request = self._borrow()
        try:
            yield request
        except BackendError as error:
            self._owner.ran(member, error)
            raise

    def _borrow(self) -> tuple[Member, Request]:
        if self._borrowed is None:
            self._borrowed = self._owner.borrow()
        return self._borrowed


def _check_fits(new: EngineInfo, present: EngineInfo) -> None:
    if (new.max_batch, new.input_size) != (present.max_batch, present.input_size):
        raise BackendError(
            f'{new.backend} takes {_capacity(new)}, {present.backend} {_capacity(present)}: '
            'expected the same of engines that replace each other; set max_batch to the smaller'
        )


def _capacity(info: EngineInfo) -> str:
    width, height = info.input_size
    return f'{info.max_batch} images of {width}x{height} pixels'
