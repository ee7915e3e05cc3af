"""Walk a protobuf message without a protobuf library: a Jetson needs none for it."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["fields", "varint"]

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def fields(message: memoryview) -> Iterator[tuple[int, memoryview, memoryview]]:
    """Yield (number, whole field, its value) of a protobuf message's top level.

    Args:
        message: its bytes.

    Raises:
        IndexError: it ends within a number.
        ValueError: it is no message, or a part of one.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = varint(message, position)
        kind = tag & 7
        if kind == _VARINT:
            begin = position
            _, position = varint(message, position)
        elif kind == _LENGTH:
            length, begin = varint(message, position)
            position = begin + length
        elif kind in (_FIXED32, _FIXED64):
            begin, position = position, position + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError(f"wire type {kind} at byte {start}")
        if position > len(message):
            raise ValueError(f"it ends at byte {len(message)}, in a field that ends at {position}")
        yield tag >> 3, message[start:position], message[begin:position]


def varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return the number at `position`, and the position after it.

    Args:
        message: holds it.
        position: of its first byte.

    Raises:
        IndexError: the message ends within it.
        ValueError: it has more than ten bytes.
    """
    value = 0
    for shift in range(0, 70, 7):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a varint of more than ten bytes")
