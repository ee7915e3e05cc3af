"""What must not harm an engine: faults.py memory|kills NAME@SIZE (TensorRT's interpreter).

    memory  the GPU is filled: an open engine must go on, a start must fail with one clear error,
            and start again as soon as there is room
    kills   builds are killed at random moments; the next one must stand, in the same cache

PROOF_KILLS is how many (8), PROOF_KILL_WITHIN_S how late at most (60).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from build_engines import build_one
from common import gpu_options, save, say
from running import opened, pairs_of

from litestereo.errors import EngineError
from litestereo.runtime.cuda import open_device

_KILLS = int(os.environ.get("PROOF_KILLS", "8"))
_KILL_WITHIN_S = float(os.environ.get("PROOF_KILL_WITHIN_S", "60"))
_LARGEST, _LEAST = 8 << 30, 1 << 20  # pieces in bytes that memory is filled with


def memory(engine: str) -> dict[str, Any]:
    """Fill the GPU beside an open engine."""
    pair = pairs_of(engine, 1)[0]
    backend = opened(engine)
    expected = backend.infer(*pair)[0].copy()
    device = open_device(0)
    with device.active():
        pieces = _fill(device)
        say(f"filled with {sum(piece.nbytes for piece in pieces) >> 20} MiB")
    full = {"open_engine_same_answer": bool(np.array_equal(backend.infer(*pair)[0], expected))}
    try:
        opened(engine).close()
        full["start"] = "succeeded"
    except EngineError as error:
        full["start"] = f"EngineError: {error}"
    full["open_engine_same_answer_after_it"] = bool(
        np.array_equal(backend.infer(*pair)[0], expected)
    )
    with device.active():
        for piece in pieces:
            piece.free()
    again = opened(engine)
    room = {"start_same_answer": bool(np.array_equal(again.infer(*pair)[0], expected))}
    for one in (again, backend, device):
        one.close()
    return {"full": full, "room_again": room}


def _fill(device: Any) -> list[Any]:
    """Take all memory, in smaller and smaller pieces."""
    pieces, nbytes = [], _LARGEST
    while nbytes >= _LEAST:
        try:
            pieces.append(device.device_buffer(nbytes))
        except EngineError:
            nbytes //= 2
    return pieces


def kills(engine: str) -> dict[str, Any]:
    """Kill builds at random moments, then build and answer."""
    name, size = engine.split("@")
    folder = gpu_options(name, size).cache_dir
    draw, moments_s, survived = random.Random(0), [], 0
    command = [sys.executable, str(Path(__file__).with_name("build_engines.py")), engine]
    for _ in range(_KILLS):
        delay_s = draw.uniform(1.0, _KILL_WITHIN_S)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(delay_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        survived += process.returncode == 0
        moments_s.append(round(delay_s, 1))
    left = sorted(path.name for path in folder.iterdir()) if folder and folder.is_dir() else []
    begin = time.monotonic()
    first, second = build_one(name, size), build_one(name, size)
    backend = opened(engine)
    pair = pairs_of(engine, 1)[0]
    answers = [backend.infer(*pair)[0].copy() for _ in range(2)]
    backend.close()
    return {
        "kills": _KILLS,
        "moments_s": moments_s,
        "ended_before_the_kill": survived,
        "files_after_the_kills": left,
        "then_built": first["was_built"] or survived > 0,
        "then_from_cache": not second["was_built"],
        "ready_after_s": round(time.monotonic() - begin, 1),
        "same_answers": bool(np.array_equal(*answers)),
        "finite": bool(np.isfinite(answers[0]).all()),
    }


def main(step: str, engine: str) -> int:
    """Run a step and write what was found."""
    found = {"memory": memory, "kills": kills}[step](engine)
    say(f"{step} {engine}: {found}")
    save(f"faults_{step}", {"engine": engine, step: found})
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
