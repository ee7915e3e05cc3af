"""What a script of this folder needs installed, said in one line before anything is imported."""

from __future__ import annotations

import sys
from pathlib import Path

from litestereo.errors import MissingDependencyError
from litestereo.packages import require_packages
from litestereo.runtime.opencv import import_cv2

__all__ = ["leave_without"]


def leave_without(*packages: str, extra: str, opencv: bool = True) -> None:
    """End the script with one line unless all of its packages are installed.

    Args:
        packages: as they are imported.
        extra: of litestereo that brings them.
        opencv: whether it needs that, too.
    """
    script = Path(sys.argv[0]).name
    try:
        require_packages(*packages, purpose=script, extra=extra)
        if opencv:
            import_cv2(script)
    except MissingDependencyError as error:
        sys.exit(f"{script}: error: {error}")
