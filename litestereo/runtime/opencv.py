"""The one place that imports OpenCV: which build of cv2 is installed is the user's choice."""

from __future__ import annotations

from typing import Any

from litestereo.errors import MissingDependencyError

__all__ = ["import_cv2"]


def import_cv2(purpose: str) -> Any:  # noqa: ANN401 - cv2's stubs differ between its builds
    """Return the cv2 module: pip's headless or windowed build, or the system's own.

    Args:
        purpose: what needs it, for the message, e.g. "reading pictures".

    Raises:
        MissingDependencyError: there is none, or it does not load (often a missing libGL).
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "OpenCV (cv2; on a Jetson also apt's python3-opencv)", purpose=purpose, extra="opencv"
        ) from error
    except ImportError as error:
        raise MissingDependencyError(
            f"an OpenCV that loads here (cv2 is there but says: {error})",
            purpose=purpose,
            extra="opencv",
        ) from error
    if not hasattr(cv2, "__version__"):  # the empty folder that pip leaves of two builds in one
        raise MissingDependencyError(
            "a whole OpenCV (the cv2 folder is empty: uninstall every opencv-python* first)",
            purpose=purpose,
            extra="opencv",
        )
    return cv2
