"""Drive litestereo's builder with TensorRT-RTX, which builds without a GPU; run as a program.

Usage: rtx_plan.py FILE HEIGHT WIDTH PRECISION. Prints one line of JSON. The library may crash when
the interpreter ends, so the process leaves by os._exit.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tensorrt_rtx as trt

from litestereo.errors import EngineError
from litestereo.runtime.tensorrt.builder import BuildRequest, build_plan
from litestereo.runtime.tensorrt.options import BuildOptions, SizeRange
from litestereo.runtime.tensorrt.progress import Heartbeat


def main(path, height, width, precision):
    options = BuildOptions(tactic_sources=("JIT_CONVOLUTIONS", "CUBLAS"), workspace_mb=256)
    sizes = SizeRange.fixed((int(height), int(width)))
    request = BuildRequest(path, Path(path).read_bytes(), precision, sizes, options)
    said = []
    try:
        with Heartbeat(said.append, "building") as heartbeat:
            built = build_plan(trt, request, heartbeat=heartbeat)
    except EngineError as error:
        return {"error": str(error)}
    return {
        "plan_bytes": len(built.plan),
        "timing_cache_bytes": len(built.timing_cache),
        "typing": built.typing,
        "phase": heartbeat.phase,
        "said": said,
    }


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])), flush=True)
    os._exit(0)
