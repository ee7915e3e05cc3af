"""The plugin for the end of a network, against the nodes that it replaces."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.utils import Extractor

from litestereo import models
from litestereo.assets import bundled_artifact
from litestereo.export.options import ExportOptions
from litestereo.export.pipeline import fp32_graph
from litestereo.export.simplify import simplify
from litestereo.runtime.tensorrt.plugin.head import find_head, pack_transposed
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph


@pytest.fixture(scope="module")
def master():
    model = models.create("las1").eval()
    models.load_weights(model, bundled_artifact("las1"))
    return simplify(fp32_graph(model, options=ExportOptions(model="las1")))


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


def by_kind(model, kind):
    """Return the last node of a kind that the end consists of."""
    skipped = ("cost_agg", "fnet")
    nodes = (node for node in model.graph.node if node.op_type == kind)
    return [node.name for node in nodes if not any(part in node.name for part in skipped)][-1]


def test_the_end_is_found(master):
    head = head_of(master)
    written = {name for node in master.graph.node for name in node.output}
    assert {*head.sources, *head.results} <= written
    assert [array.shape for array in head.constants] == [(4096,)]


def test_another_end_is_left(master):
    assert head_of(master) is not None
    four = np.array([1, 1, 2, 2], np.float32)
    resize = by_kind(master, "Resize")
    assert head_of(changed(master, resize, "mode", "nearest")) is None
    assert head_of(changed(master, resize, constant=(2, four))) is None
    assert head_of(changed(master, by_kind(master, "ConvTranspose"), "pads", [0, 0, 0, 0])) is None
    assert head_of(changed(master, by_kind(master, "Pad"), "mode", "edge")) is None
    clip = by_kind(master, "Clip")
    assert head_of(changed(master, clip, constant=(1, np.array(1.0, np.float32)))) is None


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
def test_the_kernels_compute_the_end(kernels, master, size):
    head = head_of(master)
    height, width = size
    tail = Extractor(master).extract_model(list(head.sources), list(head.results))
    rng = np.random.default_rng(0)
    cost = rng.gamma(0.4, 3.0, (48, height // 4, width // 4)).astype(np.float16)
    features = rng.normal(0, 1, (16, height // 2, width // 2)).astype(np.float16)
    fed = {
        n: a[None].astype(np.float32) for n, a in zip(head.sources, (cost, features), strict=True)
    }
    expected = onnxruntime.InferenceSession(tail.SerializeToString()).run(list(head.results), fed)
    last = [np.ascontiguousarray(a.transpose(1, 2, 0)) for a in (cost, features)]
    shapes = [size, size, (2, height // 4, width // 4)]
    read = [*last, *head.constants]
    disparity, confidence, _ = kernels.run("head", read, shapes, np.float32, 1, height, width)
    np.testing.assert_allclose(disparity, expected[0][0, 0], atol=0.02)
    np.testing.assert_allclose(confidence, expected[1][0, 0], atol=1e-4)
