"""INT8 against FP16 on a GPU: int8.py engines|fidelity NAME@SIZE... , NAME as in las1_int8.

`engines` (TensorRT's interpreter) builds both, times them in turns, keeps what pays, and lists what
stayed in floating point, from the engine and from the manifest's reasons. `fidelity` (any with
OpenCV) compares the answers of step `answers` with torch's, by the gate's own figures.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import artifact_of, gpu_options, save, say, size_of, work

__all__ = ["compared", "engines_of", "stayed"]

_LISTED = 400


def engines_of(engine: str) -> dict[str, Any]:
    """Build and time the INT8 engine and that of FP16; what was measured and what is in them."""
    from running import pairs_of

    from litestereo.runtime.tensorrt.backend import build_ahead
    from litestereo.runtime.tensorrt.choice import choose_engine
    from litestereo.runtime.tensorrt.options import SizeRange

    name, size = engine.split("@")
    paths = [artifact_of(kind) for kind in (name, name.replace("_int8", "_fp16"))]
    options = gpu_options(name, size, size_range=SizeRange.fixed(size_of(size)))
    built = build_ahead(paths[0], options=options)
    facts = dict(built.facts)
    layers = stayed(paths[0], built.plan, name=engine)
    # By force, so that fidelity and further runs find the engine; the verdict is in "pays".
    pair = pairs_of(engine, 1)[0]
    choice = choose_engine(*paths, pair=pair, options=options, force=True)
    return {"engine": engine, "choice": choice.to_json(), "facts": facts, "layers": layers}


def stayed(artifact: Path, plan: bytes, *, name: str) -> dict[str, Any]:
    """Return the layers of an engine that are not INT8, and the graph's reasons by name."""
    from litestereo.runtime.cuda import open_device
    from litestereo.runtime.tensorrt.artifact import read_artifact
    from litestereo.runtime.tensorrt.attestation import read_inspection
    from litestereo.runtime.tensorrt.engines import load_plan
    from litestereo.runtime.tensorrt.library import import_tensorrt

    trt = import_tensorrt()
    device = open_device(0)
    with device.active():
        runtime, engine = load_plan(trt, plan, name=name)
        inspector = engine.create_engine_inspector()
        text = inspector.get_engine_information(trt.LayerInformationFormat.JSON)
        del inspector, engine, runtime
    device.close()
    (work() / f"layers_{name}.json").write_text(text)
    kept = read_artifact(artifact).manifest.quantization.get("kept", {})
    reasons = {node: part for part, entry in kept.items() for node in entry["nodes"]}
    found, why = [], Counter()
    for layer in json.loads(text, strict=False)["Layers"]:
        alone = json.dumps({"Layers": [layer]})
        kinds = read_inspection(alone).layers
        if not kinds or "int8" in kinds:
            continue
        layer_name = str(layer.get("Name", "?"))
        reason = next((part for node, part in reasons.items() if node in layer_name), "not a conv")
        why[f"{next(iter(kinds))}: {reason}"] += 1
        found.append({"name": layer_name[:160], "kind": next(iter(kinds)), "reason": reason})
    return {"floating_by_reason": dict(why), "floating": found[:_LISTED], "reasons": _words(kept)}


def _words(kept: dict[str, Any]) -> dict[str, str]:
    return {part: entry["reason"] for part, entry in kept.items()}


def compared(engine: str) -> dict[str, Any]:
    """Return how far an INT8 engine is from torch on all prepared pairs, and the gate's verdict."""
    from fidelity import torch_answers
    from pictures import truths

    from litestereo.export.disagreement import GATE_LIMITS, disagreement, mean_disagreement
    from litestereo.runtime.preprocess import Frame, disparity_from_padded

    name, size = engine.split("@")
    listed = json.loads((work() / f"pairs_{size}.json").read_text())
    answers = np.load(work() / f"answers_{name}_{size}.npy", mmap_mode="r")
    reference = torch_answers(name.split("_int8")[0], size)
    scenes = truths(Path(os.environ["PROOF_TRUTH"]))
    held, others = {}, {}
    for index, entry in enumerate(listed):
        if "plane" in entry or "/sceneflow/" in entry["name"]:  # held-out pairs are real ones
            continue
        frame = Frame(
            **{k: tuple(v) if isinstance(v, list) else v for k, v in entry["frame"].items()}
        )
        maps = [np.maximum(np.array(one[0, index]), 0) for one in (answers, reference)]
        truth = None
        if entry["name"] in scenes:
            restored = [disparity_from_padded(one, frame) for one in maps]
            truth = (*restored, scenes[entry["name"]].load_truth().disparity_px)
        found = disagreement(*(frame.cropped(one) for one in maps), truth=truth)
        (held if truth else others)[entry["name"]] = found
    mean = mean_disagreement(list(held.values()))
    say(f"{engine} against torch FP32 on {len(held)} held-out pairs: {mean}")
    return {
        "engine": engine,
        "limits": GATE_LIMITS,
        "mean": mean.to_json(),
        "exceeded": mean.exceeded(),
        "pairs": {key: value.to_json() for key, value in held.items()},
        "calibrated_with": {key: value.to_json() for key, value in others.items()},
    }


def main(step: str, *engines: str) -> int:
    """Run a step on all; return how many limits are not held."""
    results = [{"engines": engines_of, "fidelity": compared}[step](engine) for engine in engines]
    save(f"int8_{step}", {"engines": results})
    return sum(len(result.get("exceeded", ())) for result in results)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
