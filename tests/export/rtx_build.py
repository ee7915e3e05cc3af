"""Parse and build one artefact with TensorRT-RTX; run as a program, because it ends abruptly.

Usage: rtx_build.py FILE HEIGHT WIDTH. Prints one line of JSON: the parser's errors, the plan's
bytes. Without a GPU the library can crash while the interpreter shuts down, so the process leaves
by os._exit once the line is out.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tensorrt_rtx as trt


def main(path: Path, height: int, width: int) -> None:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse(path.read_bytes())
    errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
    plan = None
    if parsed:
        config = builder.create_builder_config()
        profile = builder.create_optimization_profile()
        for name in ("left", "right"):
            profile.set_shape(name, *[(height, width, 3)] * 3)
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
    size = None if plan is None else plan.nbytes
    print(json.dumps({"errors": errors, "plan_bytes": size}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    os._exit(0)
