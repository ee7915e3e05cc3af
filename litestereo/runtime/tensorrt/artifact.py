"""Read an artefact's manifest and identity without the onnx package: a Jetson has none.

An ONNX file is one protobuf message. Only its top level is walked here; field numbers are those of
onnx.proto: 14 is metadata_props, whose fields are key (1) and value (2).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from litestereo.errors import EngineError
from litestereo.runtime.manifest import METADATA_KEY, Manifest
from litestereo.runtime.onnx_file import read_onnx
from litestereo.runtime.protobuf import fields

__all__ = ["Artifact", "read_artifact"]

_METADATA_PROPS = 14


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """An artefact in memory.

    Attributes:
        path: where it came from.
        content: the file's bytes, which is what TensorRT parses.
        manifest: what it says about itself.
        graph_sha256: of all but the metadata, so that a new remark does not make a new engine.
    """

    path: Path
    content: bytes
    manifest: Manifest
    graph_sha256: str


def read_artifact(path: Path, *, content: bytes | None = None) -> Artifact:
    """Read an artefact.

    Args:
        path: the file.
        content: of the file, as `read_onnx` gave it; None reads it.

    Raises:
        EngineError: it cannot be read, is no ONNX file, keeps tensors elsewhere, or has no
            manifest.
    """
    content = read_onnx(path) if content is None else content
    digest = hashlib.sha256()
    manifest = None
    try:
        for number, whole, value in fields(memoryview(content)):
            if number == _METADATA_PROPS:
                entry = {n: bytes(part) for n, _, part in fields(value)}
                if entry.get(1) == METADATA_KEY.encode():
                    manifest = entry.get(2, b"").decode()
            else:
                digest.update(whole)
    except (IndexError, ValueError) as error:
        raise EngineError(
            f"{path} is no ONNX file, or a part of one: {error}; copy or export it again"
        ) from error
    if manifest is None:
        raise EngineError(
            f"{path} has no litestereo manifest; need an artefact written by stereo-export"
        )
    return Artifact(path, content, Manifest.from_json(manifest), digest.hexdigest())
