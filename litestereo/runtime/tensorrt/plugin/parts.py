"""Parts of a graph that one plugin computes, and how plugins take their places in a network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from litestereo.errors import EngineError
from litestereo.runtime.tensorrt.plugin.library import VERSION

__all__ = ["Part", "replace_parts"]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Nodes of a graph that a plugin computes.

    Attributes:
        name: of the node that ends it.
        plugin: the plugin's name in TensorRT's registry.
        sources: the tensors that it reads.
        results: the tensors that it gives.
        constants: its weights, in the plugin's order and packing.
    """

    name: str
    plugin: str
    sources: tuple[str, ...]
    results: tuple[str, ...]
    constants: tuple[NDArray[np.floating], ...]


def replace_parts(trt: Any, network: Any, parts: Iterable[Part]) -> list[object]:  # noqa: ANN401
    """Let the readers of each part's results read a plugin's instead.

    TensorRT drops what nobody reads any more. It does not copy weights before it builds: keep what
    is returned until then.

    Args:
        trt: the module `tensorrt`, the plugins' library loaded.
        network: an INetworkDefinition, the graph parsed.
        parts: of that graph, in the order that they are computed.

    Raises:
        EngineError: the network has other tensors than the graph, or TensorRT makes no plugin.
    """
    tensors: dict[str, Any] = {}
    readers = defaultdict(list)
    for layer in (network.get_layer(index) for index in range(network.num_layers)):
        for index in range(layer.num_inputs):
            tensor = layer.get_input(index)
            if tensor is not None:
                tensors[tensor.name] = tensor
                readers[tensor.name].append((layer, index))
        for index in range(layer.num_outputs):
            tensors[layer.get_output(index).name] = layer.get_output(index)
    registry = trt.get_plugin_registry()
    kept: list[object] = []
    for part in parts:
        if not all(name in tensors for name in (*part.sources, *part.results)):
            raise EngineError(f"TensorRT's network has no tensors of the part {part.name}")
        inputs = [tensors[name] for name in part.sources]
        for array in part.constants:
            kept.append(array.ravel())
            constant = network.add_constant((array.size,), kept[-1])
            inputs.append(constant.get_output(0))
        creator = registry.get_plugin_creator(part.plugin, VERSION, "")
        plugin = creator.create_plugin(part.plugin, trt.PluginFieldCollection([]))
        if plugin is None:
            raise EngineError(f"TensorRT {trt.__version__} makes no plugin {part.plugin}")
        kept.append(plugin)
        layer = network.add_plugin_v2(inputs, plugin)
        layer.name = f"{part.name}.plugin"  # the layers that it replaces keep their names
        for index, result in enumerate(part.results):
            tensors[result] = layer.get_output(index)
            for reader, number in readers[result]:
                reader.set_input(number, tensors[result])
    return kept
