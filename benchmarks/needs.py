"""What goes wrong in a script of this folder, said in one line: missing packages first of all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from litestereo.errors import LiteStereoError
from litestereo.packages import require_packages
from litestereo.runtime.opencv import import_cv2

__all__ = ["leave_without", "one_line_errors"]


def leave_without(*packages: str, extra: str, opencv: bool = True) -> None:
    """End the script with one line unless all of its packages are installed.

    Args:
        packages: as they are imported.
        extra: of litestereo that brings them.
        opencv: whether it needs that, too.
    """
    script = Path(sys.argv[0]).name
    with one_line_errors():
        require_packages(*packages, purpose=script, extra=extra)
        if opencv:
            import_cv2(script)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the script with one line where an error of ours is raised inside."""
    try:
        yield
    except LiteStereoError as error:
        sys.exit(f"{Path(sys.argv[0]).name}: error: {' '.join(str(error).split())}")
