"""Whole files or none: bytes are written under a temporary name and then renamed."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from litestereo.errors import InputError

__all__ = ["write_atomic"]


def write_atomic(path: Path, content: bytes) -> Path:
    """Write `content` to `path`, making its folder, and return the path.

    Raises:
        InputError: the place cannot be written; nothing is left behind.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            os.replace(temporary, path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror or error}; choose another place with -o"
        ) from error
    return path
