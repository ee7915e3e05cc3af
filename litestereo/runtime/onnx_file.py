"""The bytes of an ONNX file that stands by itself; checked before any ONNX library sees them."""

from __future__ import annotations

import re
from pathlib import Path

from litestereo.errors import EngineError, LiteStereoError
from litestereo.runtime.reading import read_file

__all__ = ["read_onnx"]

# Protobuf's own limit for one message.
_MOST_BYTES = 2**31 - 1
# How protobuf writes the key "location" of a tensor that lives in another file: field 1, eight
# bytes. Its numbers may be padded by bytes of 0x80. Libraries would open that file, by a path from
# the artefact, against their working directory.
_EXTERNAL_DATA = re.compile(rb"(?:\n|\x8a\x80*\x00)(?:\x08|\x88\x80*\x00)location")


def read_onnx(path: Path, *, error: type[LiteStereoError] = EngineError) -> bytes:
    """Return the content of an ONNX file that refers to no other file.

    Args:
        path: the file.
        error: which of our errors to raise.

    Raises:
        LiteStereoError: `error`, where it cannot be read, or keeps tensors in other files.
    """
    content = read_file(path, most_bytes=_MOST_BYTES, error=error)
    if _EXTERNAL_DATA.search(content):
        raise error(
            f"{path} keeps tensors in other files; need one self-contained file: write it with "
            "stereo-export, or save the model again with its tensors inside"
        )
    return content
