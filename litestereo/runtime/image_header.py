"""What a picture file says about itself before it is decoded: size and EXIF orientation."""

from __future__ import annotations

import struct
from collections.abc import Iterator

__all__ = ["exif_orientation", "is_truncated_jpeg", "size_from_header"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# JPEG markers without a length, and the frame headers, which hold the size (0xC4, C8, CC are not).
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION_TAG = 0x0112


def size_from_header(content: bytes) -> tuple[int, int] | None:
    """Return (height, width) as a PNG's or JPEG's header says it, None for other formats."""
    if content.startswith(_PNG) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return height, width
    for marker, segment in _jpeg_segments(content):
        if marker in _JPEG_FRAMES and len(segment) >= 5:
            height, width = struct.unpack(">HH", segment[1:5])
            return height, width
    return None


def exif_orientation(content: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8, of a JPEG or PNG; 1 where none is said."""
    for marker, segment in _jpeg_segments(content):
        if marker == 0xE1 and segment.startswith(b"Exif\0\0"):
            return _orientation_from_tiff(segment[6:])
    if content.startswith(_PNG):
        for kind, chunk in _png_chunks(content):
            if kind == b"eXIf":
                return _orientation_from_tiff(chunk)
    return 1


def is_truncated_jpeg(content: bytes) -> bool:
    """Tell a JPEG whose end is missing, which decoders fill with grey without an error.

    Neither marker can occur inside compressed data, so an end marker must follow the last scan.
    """
    if not content.startswith(_JPEG):
        return False
    return content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def _jpeg_segments(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield (marker, payload) of the segments before the first scan; nothing for other files."""
    if not content.startswith(_JPEG):
        return
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xFF or marker in _JPEG_BARE:  # fill byte, or a marker without payload
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xDA:
            return
        length = int.from_bytes(content[at + 2 : at + 4], "big")
        yield marker, content[at + 4 : at + 2 + length]
        at += 2 + length


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_PNG)
    while at + 8 <= len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += 12 + length


def _orientation_from_tiff(tiff: bytes) -> int:
    """Return the orientation in the first directory of a TIFF structure (EXIF 2.32, 4.6.2)."""
    if tiff[:2] not in (b"II", b"MM") or len(tiff) < 8:
        return 1
    order = "<" if tiff[:2] == b"II" else ">"
    start = struct.unpack(order + "I", tiff[4:8])[0]
    if start + 2 > len(tiff):
        return 1
    entries = struct.unpack(order + "H", tiff[start : start + 2])[0]
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        if at + 10 > len(tiff):
            return 1
        tag, _, _, value = struct.unpack(order + "HHIH", tiff[at : at + 10])
        if tag == _ORIENTATION_TAG:
            return int(value) if 1 <= value <= 8 else 1
    return 1
