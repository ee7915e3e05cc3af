"""NVIDIA's wheels that import without a GPU, each in a folder of its own under .venv-trt/.

`.ci/tensorrt-wheels` fills the folders. Two versions have modules of the same name, so a test runs
a program with one folder on its path instead of importing here.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["environment_of", "is_there"]

ROOT = Path(__file__).resolve().parents[1]
WHEELS = ROOT / ".venv-trt"


def is_there(module: str) -> bool:
    """Say whether a module with code of its own can be imported.

    pytest puts test folders on the import path, and there tests/runtime/cuda and .../tensorrt look
    like namespace packages of those names.
    """
    try:
        found = find_spec(module)
    except ModuleNotFoundError:  # its parent package is missing
        return False
    return found is not None and found.has_location


def environment_of(name: str, *, module: str) -> dict[str, str]:
    """Return the environment of a program that imports `module` from the folder `name`, or skip.

    Without the folder an installed module of that name will do.
    """
    folder = WHEELS / name
    if not (folder / ".ready").is_file():
        if not is_there(module):
            pytest.skip(f"{module} is not there: .ci/tensorrt-wheels brings it (x86-64 Linux)")
        return dict(os.environ)
    paths = [str(folder), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
