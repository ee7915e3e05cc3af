"""The plugin for the end of a network, against the nodes that it replaces."""

import numpy as np
import onnx
import onnxruntime
import pytest
from plugin_graphs import head_graph

from litestereo.runtime.tensorrt.plugin.head import find_head, pack_transposed
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph


@pytest.fixture(scope="module")
def model():
    return head_graph((64, 96))


def head_of(model):
    return find_head(read_graph(model.SerializeToString()))


def changed(model, name, attribute=None, value=None, constant=None):
    """Return a copy in which a node has another attribute, or another constant as an input."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    node = next(node for node in copy.graph.node if node.name == name)
    if attribute is not None:
        kept = [a for a in node.attribute if a.name != attribute]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(attribute, value)])
    if constant is not None:
        index, array = constant
        copy.graph.initializer.append(onnx.numpy_helper.from_array(array, "another"))
        node.input[index] = "another"
    return copy


def last(model, kind):
    return [node.name for node in model.graph.node if node.op_type == kind][-1]


def test_the_end_is_found(model):
    head = head_of(model)
    assert head.sources == ("cost", "features")
    ends = [node.input[0] for node in model.graph.node if node.op_type == "Flatten"]
    assert list(head.results) == ends
    assert [array.shape for array in head.constants] == [(4096,)]


def test_the_end_of_an_export_is_found(las2_s):
    assert head_of(las2_s) is not None


@pytest.mark.parametrize("passes", [1, 2])
def test_the_end_before_a_refiner_is_found(model, passes):
    refined = onnx.ModelProto()
    refined.CopyFrom(model)
    flatten = next(node for node in refined.graph.node if "disparity" in node.output)
    index = list(refined.graph.node).index(flatten)
    for number in range(passes):
        given, flatten.input[0] = flatten.input[0], f"refined{number}"
        added = onnx.helper.make_node("Add", [given, given], [f"refined{number}"], f"add{number}")
        refined.graph.node.insert(index + number, added)
        flatten = refined.graph.node[index + number + 1]
    found = head_of(refined)
    assert found is not None
    assert found.results == head_of(model).results


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "Resize", "attribute": "mode", "value": "cubic"},
        {"kind": "Resize", "constant": (2, np.array([1, 1, 2, 2], np.float32))},
        {"kind": "ConvTranspose", "attribute": "pads", "value": [0, 0, 2, 2]},
        {"kind": "Pad", "attribute": "mode", "value": "edge"},
        {"kind": "Pad", "constant": (1, np.array([0, 0, 2, 2, 0, 0, 0, 0]))},
        {"kind": "Slice", "constant": (1, np.array([1, 1]))},
        {"kind": "Clip", "constant": (1, np.array(1.0, np.float32))},
        {"kind": "Softmax", "attribute": "axis", "value": 2},
        {"kind": "Sub", "constant": (0, np.ones((1, 48, 1, 1), np.float32))},
        {"kind": "Add", "constant": (1, np.array(2.0, np.float32))},
        {"kind": "ReduceSum", "constant": (1, np.array([2]))},
    ],
    ids=lambda change: f"{change['kind']} {change.get('attribute', 'constant')}",
)
def test_another_end_is_left(model, change):
    how = {name: value for name, value in change.items() if name != "kind"}
    assert head_of(changed(model, last(model, change["kind"]), **how)) is None


def test_the_transposed_convolution_is_four_of_2x2(rng):
    torch = pytest.importorskip("torch")
    kernel = rng.normal(size=(16, 9, 4, 4))
    x = rng.normal(size=(1, 16, 6, 8))
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(x), torch.from_numpy(kernel), stride=2, padding=1
    ).numpy()[0]
    packed = pack_transposed(kernel.astype(np.float16)).astype(float)
    # place, step, row of a thread, part of it, outputs 8 further, channels of a part
    packed = packed.reshape(4, 4, 8, 4, 2, 4)
    padded = np.pad(x[0], ((0, 0), (1, 1), (1, 1)))
    for place in range(4):
        ry, rx = divmod(place, 2)
        total = np.zeros((16, 6, 8))
        for step in range(4):
            dy, dx = (1 if not s else 2 * r for s, r in zip(divmod(step, 2), (ry, rx), strict=True))
            weights = packed[place, step].transpose(1, 3, 2, 0).reshape(16, 16)
            total += np.einsum("co,chw->ohw", weights, padded[:, dy : dy + 6, dx : dx + 8])
        np.testing.assert_allclose(total[:9], expected[:, ry::2, rx::2], atol=0.02)
        assert not total[9:].any()


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(64, 96), (384, 1248), (96, 160)])
def test_the_kernels_compute_the_end(kernels, size):
    model = head_graph(size)
    head = head_of(model)
    height, width = size
    rng = np.random.default_rng(0)
    cost = rng.gamma(0.4, 3.0, (2, 48, height // 4, width // 4)).astype(np.float16)
    features = rng.normal(0, 1, (2, 16, height // 2, width // 2)).astype(np.float16)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    fed = [(a[None].astype(np.float32) for a in pair) for pair in zip(cost, features, strict=True)]
    answers = [session.run(None, dict(zip(head.sources, pair, strict=True))) for pair in fed]
    last = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in (cost, features)]
    shapes = [(2, *size), (2, *size), (2, 2, height // 4, width // 4)]
    read = [*last, *head.constants]
    *found, _ = kernels.run("head", read, shapes, np.float32, 2, height, width)
    for name, array, within in zip(("disparity", "confidence"), found, (0.02, 1e-4), strict=True):
        expected = np.stack([answer[name == "confidence"] for answer in answers])
        np.testing.assert_allclose(array, expected, atol=within, err_msg=name)
