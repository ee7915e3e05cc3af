"""The plugin for ConvNeXt blocks: what is found, how weights are packed, what a network becomes."""

import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest
from plugin_graphs import convnext_graph
from plugin_products import as_the_kernel_computes

from litestereo.errors import EngineError, MissingDependencyError
from litestereo.runtime.tensorrt.engines import plugin_of
from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions
from litestereo.runtime.tensorrt.plugin import library
from litestereo.runtime.tensorrt.plugin.convnext import CHANNELS, find_convnext
from litestereo.runtime.tensorrt.plugin.library import SOURCES, compile_library, library_path
from litestereo.runtime.tensorrt.plugin.onnx_graph import read_graph
from litestereo.runtime.tensorrt.plugin.parts import replace_parts

FOLDER = Path(library.__file__).parent


def blocks_of(model):
    return find_convnext(read_graph(model.SerializeToString()))


@pytest.mark.parametrize("channels", CHANNELS)
def test_weights_are_where_the_tensor_cores_want_them(channels, rng):
    (block,) = blocks_of(convnext_graph(channels, (8, 8)))
    model = convnext_graph(channels, (8, 8))
    arrays = {t.name: np.frombuffer(t.raw_data, np.float32) for t in model.graph.initializer}
    first = arrays["block0.a"].reshape(4 * channels, channels) * arrays["block0.s"]
    second = arrays["block0.c"].reshape(channels, 4 * channels)
    y = rng.normal(size=(16, channels))
    expected = (
        y @ first.astype(np.float16).T.astype(float) @ second.astype(np.float16).T.astype(float)
    )
    np.testing.assert_allclose(as_the_kernel_computes(block.constants[1], y), expected, atol=1e-9)


def test_a_block_is_all_that_its_nodes_compute(rng):
    channels, size = 48, (9, 11)
    model = convnext_graph(channels, size)
    (block,) = blocks_of(model)
    x = rng.normal(size=(channels, *size)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (expected,) = session.run(None, {"x": x[None]})
    padded = np.pad(x, ((0, 0), (3, 3), (3, 3)))
    taps, bias = block.constants[0][:49].reshape(7, 7, channels), block.constants[0][49]
    y = (
        sum(
            padded[:, i : i + size[0], j : j + size[1]] * taps[i, j][:, None, None]
            for i in range(7)
            for j in range(7)
        )
        + bias[:, None, None]
    )
    y = (y - y.mean(0)) / np.sqrt(y.var(0) + 1e-6)
    # The layers between, out of their packing.
    groups, chunks = channels // 16, channels // 4
    inward, outward = block.constants[1].astype(float).reshape(chunks, 2, -1).transpose(1, 0, 2)
    first = inward.reshape(chunks, groups, 8, 4, 2, 4).transpose(0, 4, 2, 1, 3, 5)
    first = first.reshape(4 * channels, channels)
    second = outward.reshape(chunks, groups, 4, 2, 4, 2, 2, 2).transpose(1, 2, 5, 3, 0, 6, 4, 7)
    second = second.reshape(channels, 4 * channels)
    through = as_the_kernel_computes(block.constants[1], np.eye(channels)[:16])
    np.testing.assert_allclose(through, (second @ first).T[:16], atol=1e-9)
    h = np.einsum("oc,chw->ohw", first, y) + block.constants[2][: 4 * channels, None, None]
    h = h * np.vectorize(math.erf)(h) + h
    out = np.einsum("oc,chw->ohw", second, h) + block.constants[2][4 * channels :, None, None]
    np.testing.assert_allclose(x + out, expected[0], atol=0.02)


def test_blocks_follow_each_other():
    found = blocks_of(convnext_graph(96, (8, 8), blocks=3, dtype=np.float16))
    assert [block.name for block in found] == [f"block{n}/sum.out" for n in range(3)]
    assert [block.sources for block in found] == [("x",), ("block0/sum.out",), ("block1/sum.out",)]
    assert [block.results for block in found] == [(f"block{n}/sum.out",) for n in range(3)]


@pytest.mark.parametrize(
    "model",
    [
        convnext_graph(48, (8, 8), epsilon=1e-3),
        convnext_graph(48, (8, 8), axis=2),
        convnext_graph(48, (8, 8), dilations=[2, 2], pads=[6, 6, 6, 6]),
        convnext_graph(64, (8, 8)),
    ],
    ids=["another epsilon", "another axis", "dilated", "channels without a kernel"],
)
def test_what_the_kernel_does_not_compute_is_left(model):
    assert blocks_of(model) == []


def test_a_broken_graph_is_an_error_of_ours():
    with pytest.raises(EngineError, match="cannot be read"):
        read_graph(convnext_graph(48, (8, 8)).SerializeToString()[:-7])


class Network:
    """As the parser leaves it: layers by the names of the graph's nodes."""

    def __init__(self, model):
        self.tensors, self.layers, self.constants = {}, [], []
        for node in model.graph.node:
            self.layers.append(self.layer(node.name, node.input, node.output))

    @property
    def num_layers(self):
        return len(self.layers)

    def layer(self, name, inputs, outputs):
        made = [self.tensors.setdefault(n, SimpleNamespace(name=n)) for n in (*inputs, *outputs)]
        read, written = made[: len(inputs)], made[len(inputs) :]
        return SimpleNamespace(
            name=name,
            read=read,
            num_inputs=len(read),
            num_outputs=len(written),
            get_input=lambda i: read[i],
            get_output=lambda i: written[i],
            set_input=lambda i, tensor: read.__setitem__(i, tensor),
        )

    def get_layer(self, index):
        return self.layers[index]

    def add_constant(self, shape, values):
        assert shape == values.shape
        self.constants.append(values)
        return self.layer("constant", (), (f"constant{len(self.constants)}",))

    def add_plugin_v2(self, inputs, plugin):
        layer = self.layer("?", (), (f"plugin{len(self.layers)}",))
        layer.read[:] = inputs
        self.layers.append(layer)
        return layer


class Trt:
    """Of the module `tensorrt` what plugins take."""

    __version__ = "8.6.2"

    def __init__(self, plugin="plugin"):
        self.creator = SimpleNamespace(create_plugin=lambda name, fields: plugin)
        self.libraries = []

    PluginFieldCollection = list

    def get_plugin_registry(self):
        return SimpleNamespace(
            get_plugin_creator=lambda *key: self.creator, load_library=self.libraries.append
        )


def test_a_plugin_stands_in_for_each_block():
    model = convnext_graph(48, (8, 8), blocks=2)
    network = Network(model)
    kept = replace_parts(Trt(), network, blocks_of(model))
    first, second = network.layers[-2:]
    assert [first.name, second.name] == ["block0/sum.out.plugin", "block1/sum.out.plugin"]
    assert first.read[0].name == "x"
    assert second.read[0] is first.get_output(0), "what the plugin before it gives"
    end = next(layer for layer in network.layers if layer.name == "end")
    assert end.read == [second.get_output(0)]
    assert all(array.flags.c_contiguous for block in blocks_of(model) for array in block.constants)
    sizes = [array.size for array in network.constants]
    assert sizes == 2 * [50 * 48, 8 * 48 * 48, 5 * 48]
    assert all(
        any(array is one for one in kept) or array.base is not None for array in network.constants
    )


def test_a_network_of_another_graph_is_refused():
    with pytest.raises(EngineError, match="no tensors of the part block1/sum"):
        replace_parts(
            Trt(),
            Network(convnext_graph(48, (8, 8))),
            blocks_of(convnext_graph(48, (8, 8), blocks=2)),
        )


def test_no_plugin_is_an_error():
    model = convnext_graph(48, (8, 8))
    with pytest.raises(EngineError, match="makes no plugin"):
        replace_parts(Trt(plugin=None), Network(model), blocks_of(model))


def test_another_source_is_another_library(tmp_path, monkeypatch):
    path = library_path(tmp_path, tensorrt="8.6.2", sm="sm_87")
    assert re.fullmatch(r"plugin_[0-9a-f]{12}_8\.6\.2_sm_87\.so", path.name)
    monkeypatch.setattr(library, "SOURCES", SOURCES[:1])
    assert library_path(tmp_path, tensorrt="8.6.2", sm="sm_87") != path


def nvcc(folder, script):
    folder.mkdir()
    tool = folder / "nvcc"
    tool.write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
    tool.chmod(0o755)
    return str(folder)


def test_it_compiles_for_the_gpu_and_leaves_nothing_behind(tmp_path, monkeypatch):
    script = "open(sys.argv[sys.argv.index('-o') + 1], 'w').write(' '.join(sys.argv[1:]))"
    monkeypatch.setenv("PATH", nvcc(tmp_path / "bin", script))
    made = tmp_path / "cache" / "plugin.so"
    compile_library(made, sm="sm_87")
    assert "-gencode=arch=compute_87,code=sm_87" in made.read_text()
    assert str(FOLDER / "plugin.cu") in made.read_text()
    assert [path.name for path in made.parent.iterdir()] == ["plugin.so"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("fatal error: NvInferRuntime.h: No such file", "libnvinfer-dev.*CPATH"),
        ("plugin.cu(3): error: no", r"cannot compile the plugin: plugin.cu\(3\): error: no"),
    ],
)
def test_what_nvcc_says_is_told(tmp_path, monkeypatch, said, told):
    monkeypatch.setenv("PATH", nvcc(tmp_path / "bin", f"sys.stderr.write({said!r}); sys.exit(2)"))
    with pytest.raises(EngineError, match=told):
        compile_library(tmp_path / "cache" / "plugin.so", sm="sm_87")
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_nvcc_it_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(library, "_NVCC_FOLDERS", ())
    with pytest.raises(MissingDependencyError, match=r"nvcc is not installed.*nvidia-jetpack"):
        compile_library(tmp_path / "plugin.so", sm="sm_87")


def test_a_library_that_cannot_be_loaded_says_what_to_do(tmp_path):
    file, trt = tmp_path / "plugin.so", Trt()
    trt.creator = None
    with pytest.raises(EngineError, match=r"plugins.*cannot be read.*tensorrt\.plugin"):
        library.load_library(trt, file)
    file.write_bytes(b"no library")
    with pytest.raises(EngineError, match=r"cannot load the plugins.*tensorrt\.plugin"):
        library.load_library(trt, file)
    assert trt.libraries == [str(file)]
    trt.creator = SimpleNamespace()
    file.write_bytes(b"compiled anew")  # nothing was registered, so it may take the place
    library.load_library(trt, file)
    assert trt.libraries == [str(file)] * 2


def test_tensorrt_11_has_no_such_plugins(tmp_path):
    trt = Trt()
    trt.__version__ = "11.4.1"
    with pytest.raises(EngineError, match=r"for TensorRT 8\.6 to 10, and this is 11\.4\.1"):
        library.load_library(trt, tmp_path / "plugin.so")


def test_a_library_is_loaded_once(tmp_path):
    file, trt = tmp_path / "plugin.so", Trt()
    file.write_bytes(b"library")
    library.load_library(trt, file)
    library.load_library(trt, file)
    assert trt.libraries == [str(file)]


@pytest.mark.parametrize("name", ["plugin.so", "other.so"])
def test_another_library_needs_another_process(tmp_path, name):
    """TensorRT's registry knows plugins by name alone, and would run the first one's silently."""
    file, other, trt = tmp_path / "plugin.so", tmp_path / name, Trt()
    file.write_bytes(b"library")
    library.load_library(trt, file)
    other.write_bytes(b"another")
    with pytest.raises(EngineError, match=rf"from {file}, and {other} holds others.*restart the"):
        library.load_library(trt, other)
    assert trt.libraries == [str(file)]
    copy = tmp_path / "copy.so"
    copy.write_bytes(b"library")
    library.load_library(trt, copy)
    library.load_library(Trt(), other)  # another TensorRT has another registry


def test_engines_with_and_without_it_are_kept_apart(tmp_path):
    path = tmp_path / "plugin.so"
    path.write_bytes(b"1")
    one = BuildOptions(plugin=path).to_json()["plugin"]
    path.write_bytes(b"2")
    other = BuildOptions(plugin=path).to_json()["plugin"]
    assert len({one, other, BuildOptions(plugin=None).to_json()["plugin"]}) == 3


def chosen(folder, *, precision="fp16", said=None, **build):
    """Return the plugin of an artefact's engine."""
    options = GpuOptions(cache_dir=folder, build=BuildOptions(**build), progress=said)
    artifact = SimpleNamespace(manifest=SimpleNamespace(precision=precision))
    return plugin_of(Trt(), artifact, info=SimpleNamespace(sm="sm_87"), options=options)


def test_what_was_compiled_is_used_for_half(tmp_path):
    assert chosen(tmp_path) is None
    compiled = library_path(tmp_path, tensorrt=Trt.__version__, sm="sm_87")
    compiled.write_bytes(b"library")
    assert chosen(tmp_path) == compiled
    assert chosen(tmp_path, plugin=None) is None
    assert chosen(tmp_path, plugin=Path("own.so")) == Path("own.so")
    assert chosen(tmp_path, precision="fp32") is chosen(tmp_path, precision="int8") is None


def test_what_everybody_may_write_is_not_used(tmp_path):
    compiled, said = library_path(tmp_path, tensorrt=Trt.__version__, sm="sm_87"), []
    compiled.write_bytes(b"library")
    compiled.chmod(0o666)
    assert chosen(tmp_path, said=said.append) is None
    assert "everybody may write" in said[0]


@pytest.mark.gpu
@pytest.mark.parametrize("size", [(24, 78), (23, 75), (8, 8), (5, 3)])
@pytest.mark.parametrize("channels", CHANNELS)
def test_the_kernel_computes_a_block(kernels, channels, size):
    model = convnext_graph(channels, size)
    (block,) = blocks_of(model)
    x = np.random.default_rng(1).normal(size=(2, channels, *size)).astype(np.float16)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    expected = [session.run(None, {"x": one[None].astype(np.float32)})[0][0] for one in x]
    read = [np.ascontiguousarray(x.transpose(0, 2, 3, 1)), *block.constants]
    (out,) = kernels.run("convnext", read, [(2, *size, channels)], np.float16, channels, 2, *size)
    found = out.astype(np.float32).transpose(0, 3, 1, 2)
    error = np.linalg.norm(found - np.stack(expected)) / np.linalg.norm(np.stack(expected))
    assert error < 1e-3, error
