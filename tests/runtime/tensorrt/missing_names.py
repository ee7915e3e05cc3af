"""Print as JSON which names a module lacks; run as a program: TensorRT may crash at its end.

Usage: missing_names.py MODULE < {"Class": ["name", ...]}; "" is the module itself.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from functools import reduce


def missing(module, wanted):
    """Return "Class.name" of what is not there; a class that is no public name is looked up."""
    lacking = []
    for path, names in wanted.items():
        try:
            owner = reduce(getattr, path.split("."), module) if path else module
        except AttributeError:
            lacking.append(path)
            continue
        lacking += [f"{path}.{name}" for name in names if not hasattr(owner, name)]
    return sorted(lacking)


if __name__ == "__main__":
    module = importlib.import_module(sys.argv[1])
    version = getattr(module, "__version__", "")
    lacking = missing(module, json.load(sys.stdin))
    print(json.dumps({"version": version, "missing": lacking}), flush=True)
    os._exit(0)
