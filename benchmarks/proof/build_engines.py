"""Build engines, several at a time: build_engines.py NAME@SIZE... (TensorRT's interpreter).

Each is a process of its own with a cache folder of its own. PROOF_PARALLEL says how many run at
once; TensorRT measures kernels while it builds, so builds side by side may choose worse ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from common import artifact_of, gpu_options, say, size_of, work

__all__ = ["build_one"]


def build_one(name: str, size: str) -> dict[str, Any]:
    """Build one engine, or find it in the cache; its facts."""
    from litestereo.runtime.tensorrt.backend import build_ahead
    from litestereo.runtime.tensorrt.options import SizeRange

    sizes = SizeRange.fixed(size_of(size))
    cached = build_ahead(artifact_of(name), options=gpu_options(name, size, size_range=sizes))
    facts = dict(cached.facts)
    facts["attestation"].pop("narrowed", None)
    return {
        "engine": f"{name}@{size}",
        "was_built": cached.was_built,
        "plan_mb": round(len(cached.plan) / 1e6, 2),
        **facts,
    }


def main(*engines: str) -> int:
    """Build all in child processes; return how many failed."""
    if len(engines) == 1:
        from common import save

        name, size = engines[0].split("@")
        save(f"build_{name}_{size}", build_one(name, size))
        return 0
    logs = work() / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    waiting, running, failed = list(engines), {}, []
    most = int(os.environ.get("PROOF_PARALLEL", "4"))
    while waiting or running:
        while waiting and len(running) < most:
            engine = waiting.pop(0)
            log = (logs / f"build_{engine}.log").open("w")
            command = [sys.executable, __file__, engine]
            running[engine] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            say(f"building {engine}")
        time.sleep(1)
        for engine, process in list(running.items()):
            if process.poll() is None:
                continue
            del running[engine]
            say(f"{engine}: exit {process.returncode}")
            print((logs / f"build_{engine}.log").read_text()[-3000:], flush=True)
            if process.returncode:
                failed.append(engine)
    say(f"{len(failed)} of {len(engines)} failed: {failed}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
