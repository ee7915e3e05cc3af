"""What 8.6 would be held to, on the network that TensorRT-RTX's parser makes; run as a program.

Usage: rtx_pins.py FILE ISLANDS, a JSON file of the names of the nodes kept in FP32. RTX types
strongly, so its tensors tell the truth that 8.6's do not. Prints one line of JSON: layers pinned to
FP32 that are half by type, layers that are FP32 by type and not pinned (but for casts and
constants), and how many were pinned. The process leaves by os._exit, because the library can crash
while the interpreter shuts down.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tensorrt_rtx as trt

from litestereo.runtime.tensorrt import builder


class Layer:
    """A parsed layer that notes its pin: a strongly typed network takes none."""

    def __init__(self, layer):
        self._layer, self.precision = layer, None

    def __getattr__(self, name):
        return getattr(self._layer, name)

    def set_output_type(self, index, kind):
        assert kind == trt.DataType.FLOAT


class Network:
    def __init__(self, network):
        self.layers = [Layer(network.get_layer(i)) for i in range(network.num_layers)]
        self.num_layers = len(self.layers)

    def get_layer(self, index):
        return self.layers[index]


def main(path, islands):
    logger = trt.Logger(trt.Logger.ERROR)
    parsed = trt.Builder(logger).create_network(
        1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    )
    parser = trt.OnnxParser(parsed, logger)
    assert parser.parse(path.read_bytes()), parser.get_error(0)
    network = Network(parsed)
    count = len(builder._pin_islands(trt, network, frozenset(json.loads(islands.read_text()))))
    half, full = [], []
    for layer in network.layers:
        kinds = {layer.get_output(i).dtype for i in range(layer.num_outputs)}
        if layer.precision and trt.DataType.HALF in kinds:
            half.append(layer.name)
        given = layer.type in (trt.LayerType.CAST, trt.LayerType.CONSTANT)
        if not layer.precision and trt.DataType.FLOAT in kinds and not given:
            full.append(layer.name)
    print(json.dumps({"pinned": count, "half": half, "full": full}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
    os._exit(0)
