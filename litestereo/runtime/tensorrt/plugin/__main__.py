"""Compile the plugin: python -m litestereo.runtime.tensorrt.plugin [ENGINE_CACHE].

It needs an NVIDIA GPU, TensorRT and nvcc. ENGINE_CACHE is what stereo-run calls --engine-cache.
"""

from __future__ import annotations

import sys
from pathlib import Path

from litestereo.errors import LiteStereoError
from litestereo.runtime.cuda.driver import Driver
from litestereo.runtime.tensorrt.cache import default_folder
from litestereo.runtime.tensorrt.library import import_tensorrt
from litestereo.runtime.tensorrt.plugin.library import (
    compile_library,
    library_path,
    require_plugins,
)

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Compile the plugin for this machine's TensorRT and first GPU; print where it lies.

    Args:
        arguments: the folder of the engine cache; none is the user's.

    Returns:
        The exit status: 1 where it cannot be compiled, 2 for an option that there is not.
    """
    if arguments and arguments[0].startswith("-"):
        wanted = arguments[0] in ("-h", "--help")
        print(__doc__, file=sys.stdout if wanted else sys.stderr)
        return 0 if wanted else 2
    try:
        print(_compiled(Path(arguments[0]) if arguments else default_folder()))
    except LiteStereoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _compiled(folder: Path) -> Path:
    trt, gpu = import_tensorrt(), Driver.open().device_info(0)
    require_plugins(trt)
    path = library_path(folder, tensorrt=str(trt.__version__), sm=gpu.sm)
    compile_library(path, sm=gpu.sm)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
