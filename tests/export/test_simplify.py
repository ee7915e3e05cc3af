from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from litestereo.errors import ExportError
from litestereo.export import simplify as simplify_module
from litestereo.export.graph import attach_weights, op_histogram, opset_of
from litestereo.export.onnx_from_torch import onnx_from_torch
from litestereo.export.options import ExportOptions
from litestereo.export.simplify import simplify


class Toy(nn.Module):
    """The constructs that tempt exporters and simplifiers to fold, merge or rename weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.twin = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.twin_norm = nn.BatchNorm2d(4)
        self.linear = nn.Linear(4, 4)
        self.register_buffer("offset", torch.full((1, 3, 1, 1), 0.5), persistent=False)
        for tensor in (self.conv.weight, self.twin.weight):
            nn.init.constant_(tensor, 0.1)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        x = self.norm(self.conv(left / 255 - self.offset) + self.conv(right / 255 - self.offset))
        x = torch.relu(self.twin_norm(self.twin(x)))
        kernel = self.linear.weight.view(4, 4, 1, 1)
        x = F.conv2d(x, kernel, self.linear.bias) + self.linear(x.permute(0, 2, 3, 1)).mean()
        probability = torch.softmax(x, dim=1)
        levels = torch.arange(4, dtype=torch.float32).view(1, 4, 1, 1)
        disparity = (probability * levels).sum(dim=1, keepdim=True)
        return disparity, probability.amax(dim=1, keepdim=True)


@pytest.fixture(scope="module", params=["torchscript", "dynamo"])
def traced(request):
    toy = Toy().eval()
    return toy, onnx_from_torch(toy, options=ExportOptions(exporter=request.param))


def weights_of(toy):
    return {n: t.numpy() for n, t in toy.state_dict().items() if t.is_floating_point()}


def test_every_weight_keeps_its_name_its_shape_and_its_batch_norm(traced):
    toy, raw = traced
    weights = weights_of(toy)
    graph = attach_weights(simplify(raw), weights)
    shapes = {t.name: tuple(t.dims) for t in graph.graph.initializer}
    assert {name: shapes.get(name) for name in weights} == {n: w.shape for n, w in weights.items()}
    assert op_histogram(graph)["BatchNormalization"] == 2
    assert [value.name for value in graph.graph.input] == ["left", "right"]
    assert opset_of(graph) == 17
    assert graph.ir_version == 8


def test_weights_that_are_initializers_are_folded(traced):
    toy, raw = traced
    master = attach_weights(simplify(raw), weights_of(toy))
    folded = simplify(master)
    assert "BatchNormalization" in op_histogram(master)
    # The first norm follows a sum of two convolutions, into neither of which it can go.
    assert op_histogram(folded)["BatchNormalization"] == 1
    assert len(folded.graph.node) < len(master.graph.node)


def test_a_simplifier_that_rewrites_a_weight_is_noticed(traced, monkeypatch):
    import onnxslim

    def careless(model, *, no_shape_infer):
        for node in model.graph.node:
            node.input[:] = ["other" if n == "twin.weight" else n for n in node.input]
        return model

    monkeypatch.setattr(onnxslim, "slim", careless)
    with pytest.raises(ExportError, match=r"rewrote 1 weights, such as twin\.weight"):
        simplify(traced[1])


def test_outputs_have_the_size_of_the_pictures(traced):
    graph = simplify(traced[1]).graph
    sizes = [
        [dim.dim_param for dim in value.type.tensor_type.shape.dim][:2]
        for value in (*graph.input[:2], *graph.output)
    ]
    assert sizes == [sizes[0]] * 4
    assert len(set(sizes[0])) == 2


def test_nothing_public_is_missing():
    assert simplify_module.__all__ == ["simplify"]
