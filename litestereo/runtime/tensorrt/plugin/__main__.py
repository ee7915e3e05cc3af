"""Compile the plugin: python -m litestereo.runtime.tensorrt.plugin [ENGINE_CACHE]."""

from __future__ import annotations

import sys
from pathlib import Path

from litestereo.errors import EngineError, LiteStereoError
from litestereo.runtime.cuda.driver import Driver
from litestereo.runtime.tensorrt.cache import default_folder
from litestereo.runtime.tensorrt.library import import_tensorrt, version_of
from litestereo.runtime.tensorrt.plugin.library import compile_library, library_path

__all__ = ["main"]

_NO_V2_PLUGINS = 11


def main(arguments: list[str]) -> int:
    """Compile the plugin for this machine's TensorRT and first GPU; print where it lies.

    Args:
        arguments: the folder of the engine cache; none is the user's.

    Returns:
        The exit status: 1 where it cannot be compiled.
    """
    try:
        print(_compiled(Path(arguments[0]) if arguments else default_folder()))
    except LiteStereoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _compiled(folder: Path) -> Path:
    trt, gpu = import_tensorrt(), Driver.open().device_info(0)
    if version_of(trt)[0] >= _NO_V2_PLUGINS:
        raise EngineError(
            f"the plugin is for TensorRT 8.6 to 10, and this is {trt.__version__}; engines are "
            "built without it"
        )
    path = library_path(folder, tensorrt=str(trt.__version__), sm=gpu.sm)
    compile_library(path, sm=gpu.sm)
    return path


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
