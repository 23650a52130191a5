"""Messages into memory that is kept and out of memory that is ours: what rclpy leaves out of rcl.

rclpy hands over each serialised message as new `bytes`: a camera image is copied once more into
pages that the kernel has to give first, with the GIL held. And its executor builds a wait set for
each message, which for small images costs more than the image. rcl itself, the C library below
rclpy and every other ROS 2 client, takes into a buffer that the caller keeps, publishes from one,
and tells of a new message through a C callback. These three are called here, through the handles
that rclpy gives out; all the rest of ROS stays rclpy's.

Sources: rcl's subscription.h and publisher.h, rcutils' types/uint8_array.h and allocator.h, which
are alike from Humble to Kilted.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any
import weakref

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

_OK = 0
_UNSUPPORTED = 3
_NOTHING_TO_TAKE = 401
_FIRST_CAPACITY = 1 << 16
"""Bytes of a new buffer; rcl makes it as large as the first message that it takes into it."""


class _Allocator(ctypes.Structure):
    """rcutils_allocator_t."""

    _fields_ = (
        ('allocate', ctypes.c_void_p),
        ('deallocate', ctypes.c_void_p),
        ('reallocate', ctypes.c_void_p),
        ('zero_allocate', ctypes.c_void_p),
        ('state', ctypes.c_void_p),
    )


class _SerializedMessage(ctypes.Structure):
    """rcl_serialized_message_t, which is rcutils_uint8_array_t."""

    _fields_ = (
        ('buffer', ctypes.c_void_p),
        ('buffer_length', ctypes.c_size_t),
        ('buffer_capacity', ctypes.c_size_t),
        ('allocator', _Allocator),
    )


class _ErrorString(ctypes.Structure):
    """rcutils_error_string_t."""

    _fields_ = (('str', ctypes.c_char * 1024),)


class _Libraries:
    """The functions of rcl and rcutils that are used here. A call through them frees the GIL."""

    def __init__(self) -> None:
        rcl, rcutils = ctypes.CDLL('librcl.so'), ctypes.CDLL('librcutils.so')
        message = ctypes.POINTER(_SerializedMessage)
        self.take = rcl.rcl_take_serialized_message
        self.take.argtypes = (ctypes.c_void_p, message, ctypes.c_void_p, ctypes.c_void_p)
        self.publish = rcl.rcl_publish_serialized_message
        self.publish.argtypes = (ctypes.c_void_p, message, ctypes.c_void_p)
        self.notify = rcl.rcl_subscription_set_on_new_message_callback
        self.notify.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        self.new_message = rcutils.rcutils_uint8_array_init
        self.new_message.argtypes = (message, ctypes.c_size_t, ctypes.POINTER(_Allocator))
        self.free_message = rcutils.rcutils_uint8_array_fini
        self.free_message.argtypes = (message,)
        self._error = rcutils.rcutils_get_error_string
        self._error.argtypes, self._error.restype = (), _ErrorString
        self._reset_error = rcutils.rcutils_reset_error
        self._reset_error.argtypes, self._reset_error.restype = (), None
        default_allocator = rcutils.rcutils_get_default_allocator
        default_allocator.argtypes, default_allocator.restype = (), _Allocator
        self.allocator = default_allocator()
        # The middleware's own thread calls it as callback(user_data, number_of_messages), which is
        # what eventfd_write(fd, count) takes. No Python runs there: that thread never waits for
        # the GIL.
        self.write_event = ctypes.cast(ctypes.CDLL(None).eventfd_write, ctypes.c_void_p)

    def failure(self, what: str) -> RuntimeError:
        """Return what rcl says of the call that has just failed."""
        text = self._error().str.decode('utf-8', 'replace')
        self._reset_error()
        return RuntimeError(f'{what}: {text}')


@lru_cache(maxsize=1)
def _libraries() -> _Libraries:
    return _Libraries()


class _Memory:
    """A buffer that rcl writes messages into; it grows to the largest of them and stays so."""

    def __init__(self) -> None:
        rcl = _libraries()
        self.message = _SerializedMessage()
        if rcl.new_message(self.message, _FIRST_CAPACITY, rcl.allocator) != _OK:
            raise MemoryError('no memory for a message')
        weakref.finalize(self, rcl.free_message, self.message).atexit = False
        self._bytes: NDArray[np.uint8] | None = None

    def content(self) -> NDArray[np.uint8]:
        """Return the message as a new view, uint8 [length]."""
        message = self.message
        if self._bytes is None or len(self._bytes) != message.buffer_capacity:
            kind = ctypes.c_uint8 * message.buffer_capacity
            self._bytes = np.ctypeslib.as_array(kind.from_address(message.buffer))
        return self._bytes[: message.buffer_length]


_in_use: dict[int, tuple[weakref.ref[NDArray[np.uint8]], _Memory]] = {}
"""What somebody still looks at, which lives on when its reader does not."""


class Reader:
    """Takes the serialised messages of a subscription, in the thread of whoever calls it.

    Each is read into memory that an earlier one has left: not before the last view of that one is
    gone. So nobody has to give anything back, and nobody can see a message change.
    """

    def __init__(self, subscription: Any) -> None:
        self._subscription = subscription
        self._free: list[_Memory] = []

    def take(self) -> memoryview | None:
        """Return the next message that has come, or None. Others run Python meanwhile.

        :raises RuntimeError: rcl refuses, as it does for a subscription that was destroyed.
        """
        rcl = _libraries()
        memory = self._free.pop() if self._free else _Memory()
        handle = self._subscription.handle
        with handle:
            status = rcl.take(handle.pointer, memory.message, None, None)
        if status != _OK:
            self._free.append(memory)
            if status == _NOTHING_TO_TAKE:
                return None
            raise rcl.failure('cannot take a message')
        content = memory.content()
        key = id(memory)
        gone = weakref.ref(content, lambda _: self._free.append(_in_use.pop(key)[1]))
        _in_use[key] = (gone, memory)
        return content.data


def notify(subscription: Any, event_fd: int | None) -> bool:
    """Have the number of messages that come added to an eventfd; None: no longer.

    :returns: False where the RMW has no such callback.
    :raises RuntimeError: rcl refuses.
    """
    rcl = _libraries()
    callback = None if event_fd is None else rcl.write_event
    handle = subscription.handle
    with handle:
        status = rcl.notify(handle.pointer, callback, event_fd)
    if status == _UNSUPPORTED:
        rcl.failure('')  # forgets it
        return False
    if status != _OK:
        raise rcl.failure('cannot be told of messages')
    return True


def publish(publisher: Any, serialised: Buffer) -> None:
    """Publish a serialised message from any contiguous memory, without a copy of it on the way.

    :raises RuntimeError: rcl refuses, as it does after its context was shut down.
    """
    rcl = _libraries()
    content = np.frombuffer(memoryview(serialised), np.uint8)
    message = _SerializedMessage(
        content.ctypes.data, content.nbytes, content.nbytes, rcl.allocator
    )
    handle = publisher.handle
    with handle:
        status = rcl.publish(handle.pointer, message, None)
    if status != _OK:
        raise rcl.failure('cannot publish')
