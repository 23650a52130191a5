"""Messages laid out by hand."""

from __future__ import annotations

import struct


class Writer:
    """CDR in either byte order, written down field by field.

    `gaps` are where no field is, in bytes from the message's begin: anything may be there.
    """

    def __init__(self, order: str) -> None:
        self.order = order
        self.content = b''
        self.gaps: list[int] = []

    def number(self, code: str, value: float) -> Writer:
        gap = -len(self.content) % struct.calcsize(code)
        self.gaps += range(4 + len(self.content), 4 + len(self.content) + gap)
        self.content += bytes(gap) + struct.pack(self.order + code, value)
        return self

    def octets(self, data: bytes) -> Writer:
        self.number('I', len(data))
        self.content += data
        return self

    def string(self, text: str) -> Writer:
        return self.octets(text.encode() + b'\0')

    def header(self, sec: int, nanosec: int, frame_id: str) -> Writer:
        return self.number('i', sec).number('I', nanosec).string(frame_id)

    def done(self) -> bytes:
        return (b'\0\1\0\0' if self.order == '<' else b'\0\0\0\0') + self.content
