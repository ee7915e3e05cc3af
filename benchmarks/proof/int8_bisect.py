"""Find what TensorRT 8.6 refuses of an INT8 artefact: int8_bisect.py NAME_int8@SIZE.

Each build is a process, ended after PROOF_LIMIT seconds (150): that is no refusal. Islands are held
in several ways; where even none of them is refused, halves of the convolutions are quantised.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from common import artifact_of, gpu_options, out, save, say, size_of

from litestereo.runtime.cuda import open_device
from litestereo.runtime.tensorrt.artifact import Artifact, read_artifact
from litestereo.runtime.tensorrt.builder import BuildRequest, prepare, serialize
from litestereo.runtime.tensorrt.engines import island_nodes, pinned_nodes
from litestereo.runtime.tensorrt.library import import_tensorrt, own_words
from litestereo.runtime.tensorrt.options import SizeRange
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph

FORMS: dict[str, dict[str, Any]] = {
    "as litestereo does": {},
    "obeyed": {"obey": True},
    "all islands, obeyed": {"islands": "all", "obey": True},
    "all islands": {"islands": "all"},
    "no islands": {"islands": "none"},
    "no islands, level 0": {"islands": "none", "options": {"optimization_level": 0}},
}


def build(trt: Any, artifact: Artifact, engine: str, form: dict[str, Any]) -> None:
    """Build one form here; say a line for each layer whose kernels are timed."""
    log, _ = own_words(trt)

    def told(level: Any, message: str, note: Callable[..., None] = log.log) -> None:
        if "= Computing costs for" in message:
            say("timing kernels")
        note(level, message)

    log.log = told
    name, size = engine.split("@")
    chosen = {"all": island_nodes(artifact), "none": frozenset[str]()}
    islands = chosen.get(form.get("islands", ""), pinned_nodes(artifact))
    options = gpu_options(name, size, **form.get("options", {})).build
    sizes = SizeRange.fixed(size_of(size))
    request = BuildRequest(engine, artifact.content, "int8", sizes, options, islands)
    prepared = prepare(trt, request)
    if "obey" in form:
        prepared.config.clear_flag(trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS)
        prepared.config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
    if "quantized" in form:
        names = set(quantized_convolutions(artifact)) - set(form["quantized"])
        prepared.kept += _without_quantizers(prepared.network, names)
    serialize(trt, prepared, name=engine)


def quantized_convolutions(artifact: Artifact) -> list[str]:
    """Return the names of the convolutions that read what DequantizeLinear writes."""
    nodes = read_graph(artifact.content).nodes
    made = {node.outputs[0] for node in nodes if node.kind == "DequantizeLinear"}
    return [node.name for node in nodes if node.kind.startswith("Conv") and node.inputs[0] in made]


def _without_quantizers(network: Any, names: set[str]) -> list[object]:
    """Let convolutions read what was to be quantised, and weights of no meaning; return these."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    makers = {layer.get_output(0).name: layer for layer in layers}
    weights: list[Any] = []
    for layer in (layer for layer in layers if layer.name in names):
        dequantize = makers[layer.get_input(0).name]
        layer.set_input(0, makers[dequantize.get_input(0).name].get_input(0))
        weights.append(np.full(tuple(layer.get_input(1).shape), 0.01, np.float32))
        layer.set_input(1, network.add_constant(weights[-1].shape, weights[-1]).get_output(0))
    return weights


def watch(command: Sequence[str], log: Path) -> dict[str, Any]:
    """Run a build until it ends or its time is over; how that went, from its log."""
    start, status, limit_s = time.monotonic(), None, float(os.environ.get("PROOF_LIMIT", "150"))
    with log.open("w") as file, suppress(subprocess.TimeoutExpired):
        status = subprocess.run(command, stdout=file, stderr=file, timeout=limit_s).returncode
    lines = log.read_text(errors="replace").splitlines() or [""]
    timed = [line for line in lines if line.endswith("timing kernels")]
    found = {"refused": bool(status), "status": status, "took_s": time.monotonic() - start}
    return {**found, "layers_timed": len(timed), "first_timed": timed[:1], "last_words": lines[-1]}


def smallest_refused(names: list[str], refused: Callable[[list[str]], bool]) -> list[str]:
    """Return the smallest part of a refused list that halving finds refused, too."""
    half = len(names) // 2
    parts = (part for part in (names[:half], names[half:]) if half and refused(part))
    return next((smallest_refused(part, refused) for part in parts), names)


def main(engine: str, form: str = "") -> None:
    """Build one form, or try all and save what became of them."""
    artifact = read_artifact(artifact_of(engine.split("@")[0]))
    if form:
        trt, device = import_tensorrt(), open_device(0)
        with device.active():
            build(trt, artifact, engine, json.loads(form))
        os._exit(0)  # TensorRT's objects need no order then
    tries: list[dict[str, Any]] = []

    def tried(label: str, form: dict[str, Any]) -> bool:
        log = out() / f"int8_bisect_{len(tries):02d}.log"
        command = [sys.executable, "-X", "faulthandler", __file__, engine, json.dumps(form)]
        tries.append({"label": label, **form, **watch(command, log)})
        save(f"int8_bisect_{engine}", {"tries": tries})
        return bool(tries[-1]["refused"])

    refused = {label: tried(label, form) for label, form in FORMS.items()}
    if refused["no islands"]:
        bare, names = FORMS["no islands"], quantized_convolutions(artifact)
        smallest_refused(names, lambda part: tried("halving", {**bare, "quantized": part}))


if __name__ == "__main__":
    main(*sys.argv[1:])
