"""The plugin for FasterNet blocks: what is found, how weights lie, what its kernel computes."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
from onnx import numpy_helper
from plugin_graphs import convnext_graph, fasternet_graph, head_graph
from plugin_products import as_the_kernel_computes, as_the_kernel_mixes

from litestereo.export.pipeline import for_engines
from litestereo.runtime.tensorrt.plugin.fasternet import EXPANSIONS, find_fasternet, pack_mixing
from litestereo.runtime.tensorrt.plugin.find import find_parts
from litestereo.runtime.tensorrt.plugin.library import CONVNEXT, FASTERNET, HEAD, NAMES
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph


def graph_of(channels, size, **how):
    return fasternet_graph(channels, size, expansion=EXPANSIONS.get(channels, 4), **how)


def blocks_of(model):
    return find_fasternet(read_graph(model.SerializeToString()))


@pytest.mark.parametrize("channels", EXPANSIONS)
def test_the_3x3_is_where_the_tensor_cores_want_it(channels, rng):
    mixed = channels // 4
    kernel = rng.normal(size=(mixed, mixed, 3, 3)).astype(np.float16)
    x = rng.normal(size=(10, 10, -(-mixed // 4) * 4))  # channels behind the last one do not count
    expected = sum(
        x[i : i + 8, j : j + 8, :mixed] @ kernel[:, :, i, j].astype(float).T
        for i in range(3)
        for j in range(3)
    )
    found = as_the_kernel_mixes(pack_mixing(kernel), x)
    np.testing.assert_allclose(found[:, :mixed], expected.reshape(64, mixed), atol=1e-9)
    assert not found[:, mixed:].any()


@pytest.mark.parametrize("channels", EXPANSIONS)
def test_both_layers_are_where_the_tensor_cores_want_them(channels, rng):
    hidden = EXPANSIONS[channels] * channels
    model = graph_of(channels, (8, 8))
    (block,) = blocks_of(model)
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    first, second = (
        arrays[f"block0.{name}"][:, :, 0, 0].astype(np.float16).astype(float) for name in "ac"
    )
    y = rng.normal(size=(16, -(-channels // 16) * 16))
    found = as_the_kernel_computes(block.constants[1], y)
    expected = y[:, :channels] @ first.T @ second.T
    np.testing.assert_allclose(found[:, :channels], expected, atol=1e-9)
    biases, wide = block.constants[2], -(-hidden // 64) * 64
    np.testing.assert_array_equal(biases[:hidden], arrays["block0.ab"])
    np.testing.assert_array_equal(biases[wide : wide + channels], arrays["block0.cb"])
    assert biases.size == wide + y.shape[1]
    assert all(array.flags.c_contiguous for array in block.constants)


def test_blocks_follow_each_other():
    found = blocks_of(graph_of(96, (8, 8), blocks=3, dtype=np.float16))
    assert [block.name for block in found] == [f"block{n}/sum.out" for n in range(3)]
    assert [block.sources for block in found] == [("x",), ("block0/sum.out",), ("block1/sum.out",)]
    assert [block.plugin for block in found] == 3 * [FASTERNET]


@pytest.mark.parametrize(
    "model",
    [
        graph_of(48, (8, 8), dilations=[2, 2], pads=[2, 2, 2, 2]),
        graph_of(48, (8, 8), group=2),
        graph_of(48, (8, 8), mixed=24),
        graph_of(48, (8, 8), swap=True),
        graph_of(64, (8, 8)),
        fasternet_graph(48, (8, 8), expansion=2),
        convnext_graph(48, (8, 8)),
    ],
    ids=[
        *("dilated", "grouped", "half of the channels", "another order"),
        *("channels without a kernel", "another width inside", "a ConvNeXt block"),
    ],
)
def test_what_the_kernel_does_not_compute_is_left(model):
    assert blocks_of(model) == []


@pytest.mark.parametrize(
    ("model", "plugins"),
    [
        (convnext_graph(48, (8, 8), blocks=2), [CONVNEXT, CONVNEXT]),
        (graph_of(48, (8, 8)), [FASTERNET]),
        (head_graph((64, 96)), [HEAD]),
    ],
)
def test_all_kinds_are_found(model, plugins):
    parts = find_parts(read_graph(model.SerializeToString()))
    assert [part.plugin for part in parts] == plugins
    assert set(plugins) <= set(NAMES)


def test_the_blocks_of_an_export_are_found(las2_s):
    graph = read_graph(for_engines(las2_s).SerializeToString())
    found = Counter((part.plugin, part.constants[0].size) for part in find_parts(graph))
    # By the 3x3's weights: 40, 80 and 160 channels of the features, 48, 96 and 192 behind them. The
    # features' last two blocks, of 320, stay.
    blocks = {1792: 1 + 2, 4608: 2, 14720: 8, 5376: 3, 20736: 4}
    assert found == {**{(FASTERNET, size): n for size, n in blocks.items()}, (HEAD, 4096): 1}


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(24, 78), (23, 75), (8, 8), (5, 3)])
@pytest.mark.parametrize("channels", EXPANSIONS)
def test_the_kernel_computes_a_block(kernels, channels, size):
    model = graph_of(channels, size)
    (block,) = blocks_of(model)
    x = np.random.default_rng(1).normal(size=(2, channels, *size)).astype(np.float16)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = np.concatenate(
        [session.run(None, {"x": one[None].astype(np.float32)})[0] for one in x]
    )
    read = [np.ascontiguousarray(x.transpose(0, 2, 3, 1)), *block.constants]
    (out,) = kernels.run("fasternet", read, [(2, *size, channels)], np.float16, channels, 2, *size)
    found = out.astype(np.float32).transpose(0, 3, 1, 2)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < 1e-3, error
