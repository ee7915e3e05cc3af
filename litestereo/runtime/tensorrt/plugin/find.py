"""Find all parts of a graph that plugins compute."""

from __future__ import annotations

from litestereo.runtime.tensorrt.plugin.convnext import find_convnext
from litestereo.runtime.tensorrt.plugin.fasternet import find_fasternet
from litestereo.runtime.tensorrt.plugin.head import find_head
from litestereo.runtime.tensorrt.plugin.onnx_graph import OnnxGraph
from litestereo.runtime.tensorrt.plugin.parts import Part

__all__ = ["find_parts"]


def find_parts(graph: OnnxGraph) -> list[Part]:
    """Return the parts in the order that they are computed.

    Args:
        graph: of an FP16 artefact.
    """
    head = find_head(graph)
    parts = [*find_convnext(graph), *find_fasternet(graph), *([head] if head else [])]
    order = {name: index for index, node in enumerate(graph.nodes) for name in node.outputs}
    return sorted(parts, key=lambda part: order[part.name])
