"""What tells engines of one version of this package from those of another: the code that builds.

A number raised by hand would be forgotten, and the package's version would build every engine anew,
which takes minutes on a Jetson. So this is a digest of the modules that decide what is built,
without what decides nothing: layout, comments, docstrings, annotations and the words of errors.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from functools import cache
from importlib import resources

from litestereo._version import __version__

__all__ = ["SOURCES", "digest_of", "recipe"]

SOURCES = (
    "builder.py",
    "plugin/convnext.py",
    "plugin/fasternet.py",
    "plugin/find.py",
    "plugin/head.py",
    "plugin/onnx_graph.py",
    "plugin/parts.py",
    "plugin/pattern.py",
    "plugin/pixelwise.py",
)
"""What decides which engine comes of a graph and its options; beside this module."""

_ANNOTATIONS = ("annotation", "returns")


@cache
def recipe() -> str:
    """Return a digest of how this version builds; its own number where its sources are not kept."""
    folder = resources.files(__package__)
    try:
        return digest_of(folder.joinpath(name).read_text(encoding="utf-8") for name in SOURCES)
    except OSError:
        return __version__


def digest_of(sources: Iterable[str]) -> str:
    """Return what tells code that decides something from other code; every Python says the same.

    Args:
        sources: texts of modules.
    """
    deciding = [_deciding(ast.parse(source)) for source in sources]
    return hashlib.sha256(json.dumps(deciding).encode()).hexdigest()[:12]


def _deciding(part: object) -> object:
    """Return a part of a syntax tree as JSON values, without what decides nothing.

    Empty fields are left out: newer versions of Python have more of them.
    """
    if isinstance(part, list):
        return [_deciding(one) for one in part if not _is_docstring(one)]
    if isinstance(part, ast.Raise):
        return "Raise"
    if isinstance(part, ast.AST):
        fields = [
            (name, _deciding(value))
            for name, value in ast.iter_fields(part)
            if name not in _ANNOTATIONS and value is not None and value != []
        ]
        return [type(part).__name__, fields]
    return repr(part)


def _is_docstring(part: object) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant)
