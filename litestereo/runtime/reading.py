"""Reading what others wrote: bounded files, JSON of a sane depth; every refusal is one of ours."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from litestereo.errors import InputError, LiteStereoError

__all__ = ["JSON_MOST_BYTES", "json_from", "read_file"]

JSON_MOST_BYTES = 64 * 2**20


def read_file(path: Path, *, most_bytes: int, error: type[LiteStereoError] = InputError) -> bytes:
    """Return the content of a regular file.

    Args:
        path: the file; a pipe or a device is refused, since it may never end.
        most_bytes: the most that is read into memory.
        error: which of our errors to raise.

    Raises:
        LiteStereoError: `error`, where the file is missing, unreadable, no file, or too large.
    """
    try:
        # A pipe that nobody writes to would block in open() without this flag.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise error(f"cannot read {path}: it is no regular file; give the file itself")
            if status.st_size <= most_bytes:
                # Not as many as may be: read() makes room for all that it is asked for.
                return file.read(status.st_size)
    except (OSError, ValueError) as failed:  # ValueError: a zero byte in the name
        words = getattr(failed, "strerror", None) or failed
        raise error(f"cannot read {path}: {words}") from failed
    raise error(
        f"{path} is larger than {most_bytes} bytes, the most that is read of such a file; "
        "it is not what it should be, or is damaged: get it again"
    )


def json_from(content: str | bytes, *, strict: bool = True) -> Any:  # noqa: ANN401 - any JSON
    """Return what JSON holds.

    Args:
        content: text, or its bytes in UTF-8, 16 or 32.
        strict: take no control characters within strings, as JSON says.

    Raises:
        ValueError: it is no JSON, or is nested too deep to be read.
    """
    try:
        return json.loads(content, strict=strict)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
