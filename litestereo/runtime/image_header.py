"""What a picture file says about itself before it is decoded: size and EXIF orientation."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

__all__ = ["exif_orientation", "is_truncated_jpeg", "size_from_header"]

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8"
# JPEG markers without a length, and the frame headers, which hold the size (0xC4, C8, CC are not).
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# A marker with a length, or the end's: not a stuffed or fill byte, nor one of the bare ones.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_ORIENTATION_TAG = 0x0112
_WIDTH_TAG, _HEIGHT_TAG = 256, 257
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
# Magic number, width, height, and comments between them, as the netpbm formats have it. Nine digits
# are more than any picture has, and few enough for every decoder's integers.
_NETPBM_GAP = rb"(?:\s|#[^\n]{0,512}\n){1,64}"
_NETPBM = re.compile(rb"P[1-6]" + _NETPBM_GAP + rb"(\d{1,9})" + _NETPBM_GAP + rb"(\d{1,9})\s")


def size_from_header(content: bytes) -> tuple[int, int] | None:
    """Return (height, width) as the header says it; None for what is no picture format of ours.

    Ours are PNG, JPEG, BMP, TIFF (its first picture), WebP and the netpbm formats.

    Args:
        content: the file, or its beginning.
    """
    if content.startswith(_PNG) and len(content) >= 24:
        width, height = struct.unpack(">II", content[16:24])
        return height, width
    if content.startswith(b"BM") and len(content) >= 26:
        return _bmp_size(content)
    if content[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_size(content)
    if content.startswith(b"RIFF") and content[8:12] == b"WEBP":
        return _webp_size(content)
    if netpbm := _NETPBM.match(content):
        return int(netpbm[2]), int(netpbm[1])
    for marker, segment in _jpeg_segments(content):
        if marker in _JPEG_FRAMES and len(segment) >= 5:
            height, width = struct.unpack(">HH", segment[1:5])
            return height, width
    return None


def exif_orientation(content: bytes) -> int:
    """Return the EXIF orientation, 1 (upright) to 8, of a JPEG or PNG; 1 where none is said.

    Args:
        content: of the whole file.
    """
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

    What follows its end is no part of it: phones append a video or a second picture there.

    Args:
        content: of the whole file.
    """
    if not content.startswith(_JPEG):
        return False
    at = len(_JPEG)
    while marker := _JPEG_MARKER.search(content, at):
        if marker[0] == b"\xff\xd9":
            return False
        at = marker.end()
        if marker[0] != b"\xff\xda":  # a scan's own header holds no markers, nor does its data
            at += int.from_bytes(content[at : at + 2], "big")
    return True


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
    value = _tiff_fields(tiff).get(_ORIENTATION_TAG, 1)
    return value if 1 <= value <= 8 else 1


def _tiff_fields(tiff: bytes) -> dict[int, int]:
    """Return the first number of each field of the first directory; {} where there is none."""
    order = _BYTE_ORDERS.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return {}
    start = struct.unpack(order + "I", tiff[4:8])[0]
    if start + 2 > len(tiff):
        return {}
    entries = struct.unpack(order + "H", tiff[start : start + 2])[0]
    fields: dict[int, int] = {}
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        if at + 12 > len(tiff):
            break
        tag, kind = struct.unpack(order + "HH", tiff[at : at + 4])
        short = kind == 3
        value = struct.unpack(
            order + ("H" if short else "I"), tiff[at + 8 : at + (10 if short else 12)]
        )
        # Decoders differ in which of two fields of one tag they take; the larger is the safe one.
        fields[tag] = max(fields.get(tag, 0), value[0])
    return fields


def _tiff_size(content: bytes) -> tuple[int, int] | None:
    fields = _tiff_fields(content)
    if not {_WIDTH_TAG, _HEIGHT_TAG} <= fields.keys():
        return None
    return fields[_HEIGHT_TAG], fields[_WIDTH_TAG]


def _bmp_size(content: bytes) -> tuple[int, int]:
    if struct.unpack("<I", content[14:18])[0] == 12:  # OS/2's header has 16-bit sizes
        width, height = struct.unpack("<HH", content[18:22])
    else:
        width, height = struct.unpack("<ii", content[18:26])
    return abs(height), abs(width)  # a negative height is a picture stored from its top


def _webp_size(content: bytes) -> tuple[int, int] | None:
    kind, body = content[12:16], content[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[7:10], "little") + 1, int.from_bytes(body[4:7], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        return height & 0x3FFF, width & 0x3FFF
    return None
