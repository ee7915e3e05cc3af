"""The plugin's kernels without TensorRT: compiled by nvcc, run on arrays through torch."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from litestereo.runtime.tensorrt.plugin import library

__all__ = ["kernels"]

SOURCE = """
#include "convnext_block.cuh"
#include "disparity_head.cuh"
#include "fasternet_block.cuh"
#define EXPORT extern "C" __attribute__((visibility("default")))
#define BLOCK(name) \\
    EXPORT int name(void** at, int channels, int n, int height, int width) { \\
        return litestereo::name##_block(channels, at[0], at[1], at[2], at[3], at[4], n, height, \\
                                        width, nullptr); \\
    }
BLOCK(convnext)
BLOCK(fasternet)
EXPORT int head(void** at, int n, int height, int width) {
    return litestereo::disparity_head(at[0], at[1], at[2], at[3], at[4], at[5], n, height, width,
                                      nullptr);
}
"""


def _compiled(folder, target):
    """Compile them to a library; skip where there is no nvcc."""
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not installed")
    source, made = folder / "kernels.cu", folder / "kernels.so"
    source.write_text(SOURCE)
    number = target.removeprefix("sm_")
    include = f"-I{Path(library.__file__).parent}"
    flags = [*library._FLAGS, f"-gencode=arch=compute_{number},code={target}", include]
    command = ["nvcc", *flags, str(source), "-o", str(made)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return made


class Kernels:
    """Kernels on this machine's GPU."""

    def __init__(self, torch, file):
        self._torch, self._library = torch, ctypes.CDLL(str(file))

    def run(self, name, read, shapes, dtype, *numbers):
        """Return what a kernel writes, arrays of these shapes, from those it reads."""
        given = [self._torch.from_numpy(np.array(array, order="C")).cuda() for array in read]
        kind = getattr(self._torch, np.dtype(dtype).name)
        made = [self._torch.full(s, float("nan"), dtype=kind, device="cuda") for s in shapes]
        pointers = (ctypes.c_void_p * (len(given) + len(made)))(
            *(array.data_ptr() for array in (*given, *made))
        )
        assert getattr(self._library, name)(pointers, *numbers) == 0
        self._torch.cuda.synchronize()
        return [array.cpu().numpy() for array in made]


@pytest.fixture(scope="module")
def kernels(tmp_path_factory):
    """Compile the kernels for this machine's GPU; skip where there is none."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    major, minor = torch.cuda.get_device_capability()
    folder = tmp_path_factory.mktemp("kernels")
    return Kernels(torch, _compiled(folder, f"sm_{major}{minor}"))
