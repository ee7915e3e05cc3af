"""Time the plugins' blocks on this machine's GPU, without TensorRT, as they are or by other plans.

    python benchmarks/plugin_plans.py                                     # those that plugins use
    python benchmarks/plugin_plans.py 'FasterNetPlan<96, 4, 1, 4, 1>'     # others, beside them

A plan says how a block's work is shared and kept (see the .cuh files). Each is compiled with nvcc
and runs sixteen times in a row at the block's size in a network at 384x1248, as a CUDA graph; the
time is that of one block. What comes out must be, to the bit, what it is where each block waits for
the one before, and near to what the plugin's own plan gives.
"""

from __future__ import annotations

import argparse
import ctypes
import re
import statistics
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from litestereo.runtime.tensorrt.plugin import library
from litestereo.runtime.tensorrt.plugin.fasternet import EXPANSIONS, pack_mixing
from litestereo.runtime.tensorrt.plugin.pixelwise import pack_pixelwise

_TIMES, _REPLAYS, _MEASURED = 16, 20, 9
_KINDS = {"ConvNeXtPlan": "convnext", "FasterNetPlan": "fasternet"}
# Channels -> images, height, width, at 384x1248: aggregation, and the features of both eyes.
_SIZES = {
    **{48: (1, 96, 312), 96: (1, 48, 156), 192: (1, 24, 78)},
    **{40: (2, 96, 312), 80: (2, 48, 156), 160: (2, 24, 78)},
}
_SOURCE = """
#include "convnext_block.cuh"
#include "fasternet_block.cuh"
#define ARGUMENTS at[0], at[1], at[2], at[3], at[4], n, height, width
extern "C" int run(void** at, int n, int height, int width, cudaStream_t stream) {
    CALL
}
"""


@dataclass(frozen=True, slots=True)
class _Case:
    """A kind of block with so many channels, by a plan or, if that is "", by the plugin's own."""

    kind: str
    channels: int
    plan: str = ""

    @property
    def source(self) -> str:
        own = f"return litestereo::{self.kind}_block({self.channels}, ARGUMENTS, stream);"
        other = f"""using namespace litestereo;
    using P = {self.plan};
    bool hopper = false;
    if (cudaError_t error = is_hopper(&hopper)) return error;
    return launch<P>({self.kind}_block_kernel<P>, ARGUMENTS, hopper, stream);"""
        return _SOURCE.replace("CALL", other if self.plan else own)


def _compiled(case: _Case, folder: Path) -> ctypes.CDLL:
    major, minor = torch.cuda.get_device_capability()
    name = f"{case.kind}{case.channels}_{abs(hash(case.plan))}"
    source, made = folder / f"{name}.cu", folder / f"{name}.so"
    source.write_text(case.source)
    target = f"-gencode=arch=compute_{major}{minor},code=sm_{major}{minor}"
    include = f"-I{Path(library.__file__).parent}"
    flags = ("-std=c++17", "-O3", "-shared", "-Xcompiler=-fPIC", "-diag-suppress=128", target)
    subprocess.run(["nvcc", *flags, include, str(source), "-o", str(made)], check=True)
    return ctypes.CDLL(str(made))


def _constants(case: _Case) -> list[torch.Tensor]:
    """Return any weights of a block, in its order."""
    c = case.channels
    wide = c * (EXPANSIONS[c] if case.kind == "fasternet" else 4)
    rng = np.random.default_rng(0)
    up, up_wide = -c % 16, -wide % 64
    first = np.pad(rng.normal(0, c**-0.5, (wide, c)), ((0, up_wide), (0, up)))
    second = np.pad(rng.normal(0, 0.3 * wide**-0.5, (c, wide)), ((0, up), (0, up_wide)))
    if case.kind == "fasternet":
        kernel = rng.normal(0, (9 * c / 4) ** -0.5, (c // 4, c // 4, 3, 3))
        mixing = pack_mixing(kernel)
    else:
        mixing = rng.normal(0, 1 / 7, (50, c)).astype(np.float32)
    biases = np.zeros(len(first) + len(second), np.float32)
    arrays = (mixing, pack_pixelwise(first, second), biases)
    return [torch.from_numpy(array).cuda() for array in arrays]


def _timed(case: _Case, compiled: ctypes.CDLL) -> tuple[float, torch.Tensor]:
    """Return the time of one block in microseconds, and what comes out of all."""
    run, constants = compiled.run, _constants(case)
    images, height, width = _SIZES[case.channels]
    torch.manual_seed(0)
    shape = (images, height, width, case.channels)
    x = torch.randn(shape, dtype=torch.float16, device="cuda")
    pictures = [x, torch.empty_like(x), torch.empty_like(x)]

    def queue(*, wait: bool) -> None:
        stream = ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)
        for number in range(_TIMES):
            before = pictures[0 if number == 0 else 1 + (number - 1) % 2]
            read = (before, *constants, pictures[1 + number % 2])
            at = (ctypes.c_void_p * 5)(*(array.data_ptr() for array in read))
            if status := run(at, images, height, width, stream):
                raise SystemExit(f"{case}: CUDA error {status}")
            if wait:
                torch.cuda.synchronize()

    queue(wait=True)
    last = pictures[1 + (_TIMES - 1) % 2]
    expected = last.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        queue(wait=False)
    last.zero_()
    samples_us = []
    for _ in range(_MEASURED):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(_REPLAYS):
            graph.replay()
        end.record()
        torch.cuda.synchronize()
        samples_us.append(1e3 * begin.elapsed_time(end) / (_REPLAYS * _TIMES))
    if not torch.equal(last, expected):
        raise SystemExit(f"{case}: blocks in a row give something else than one after the other")
    return statistics.median(samples_us), expected.float()


def _cases(plans: list[str]) -> list[_Case]:
    """Return what to time, each of the plugin's own before the plans for it."""
    if not plans:
        convnext = [_Case("convnext", channels) for channels in (48, 96, 192)]
        return [*convnext, *(_Case("fasternet", channels) for channels in EXPANSIONS)]
    cases: list[_Case] = []
    for plan in plans:
        found = re.fullmatch(r"(\w+)<(\d+),.*>", plan)
        if found is None or found[1] not in _KINDS:
            raise SystemExit(f"{plan} is no plan: give FasterNetPlan<...> or ConvNeXtPlan<...>")
        kind, channels = _KINDS[found[1]], int(found[2])
        cases += [_Case(kind, channels), _Case(kind, channels, plan)]
    return sorted(
        dict.fromkeys(cases), key=lambda case: (case.kind, case.channels, case.plan != "")
    )


def main() -> None:
    """Time the plugin's own plans, or those given beside them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plans", nargs="*", help="such as 'FasterNetPlan<96, 4, 1, 4, 1>'")
    own: dict[tuple[str, int], torch.Tensor] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(parser.parse_args().plans)
        with ThreadPoolExecutor() as pool:
            compiled = list(pool.map(lambda case: _compiled(case, Path(folder)), cases))
        for case, library_of_case in zip(cases, compiled, strict=True):
            time_us, out = _timed(case, library_of_case)
            first = own.setdefault((case.kind, case.channels), out)
            off = float((out - first).norm() / first.norm())
            name = case.plan or "the plugin's"
            print(
                f"{case.kind} {case.channels} {name}: {time_us:.2f} us, off by {off:.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
