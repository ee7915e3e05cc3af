"""The plugin compiled by CUDA's compiler, which needs no GPU, for a Jetson Orin.

TensorRT's own headers come with its packages for Linux alone; `headers/` stands in for them.
"""

import ctypes
import os
import subprocess
from pathlib import Path

import pytest
from trt_wheels import WHEELS

from litestereo.runtime.tensorrt.plugin.library import NAMES, VERSION, compile_library

HEADERS = Path(__file__).parent / "headers"
TOOLKIT = WHEELS / "nvcc" / "nvidia" / "cu13"
# Of a plugin's creator: the functions that TensorRT calls, by their place (NvInferRuntimePlugin.h).
GET_NAME, GET_VERSION = 1, 2


@pytest.fixture
def compiler(monkeypatch):
    """Put nvcc on the PATH, or skip."""
    if not (TOOLKIT / "bin" / "nvcc").is_file():
        pytest.skip("nvcc is not there: .ci/tensorrt-wheels brings it (x86-64 Linux)")
    monkeypatch.setenv("PATH", f"{TOOLKIT / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CPATH", str(HEADERS))
    monkeypatch.setenv("LIBRARY_PATH", str(TOOLKIT / "lib"))


def text_of(creator, place):
    """Call a virtual function of a C++ object that returns text."""
    table = ctypes.cast(creator, ctypes.POINTER(ctypes.POINTER(ctypes.c_void_p)))[0]
    return ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(table[place])(creator).decode()


def test_the_plugin_compiles_and_offers_all_of_its_creators(tmp_path, compiler):
    file = tmp_path / "plugin.so"
    compile_library(file, sm="sm_87")
    assert [path.name for path in tmp_path.iterdir()] == ["plugin.so"]
    listed = subprocess.run(
        ["nm", "-D", "--defined-only", str(file)], capture_output=True, text=True, check=True
    )
    seen = {line.split()[-1] for line in listed.stdout.splitlines()}
    assert seen == {"getPluginCreators", "setLoggerFinder"}  # CUDA's runtime inside stays inside
    library = ctypes.CDLL(str(file))
    library.getPluginCreators.restype = ctypes.POINTER(ctypes.c_void_p)
    count = ctypes.c_int32()
    creators = library.getPluginCreators(ctypes.byref(count))[: count.value]
    offered = [(text_of(creator, GET_NAME), text_of(creator, GET_VERSION)) for creator in creators]
    assert offered == [(name, VERSION) for name in NAMES]
