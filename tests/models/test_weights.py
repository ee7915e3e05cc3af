"""Reading and writing weights: every published envelope, and every way to fail."""

import argparse
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from stand_in import stand_in_manifest
from torch import nn

from litestereo.assets import bundled_artifact
from litestereo.errors import CheckpointError, InputError
from litestereo.models import create, load_weights, save_weights
from litestereo.models.refiner import Refiner
from litestereo.models.registry import REFINER_PASSES
from litestereo.models.weights import load_weights as fill
from litestereo.models.weights import read_weights
from litestereo.runtime.manifest import METADATA_KEY
from litestereo.runtime.tensorrt.artifact import read_artifact


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(1)
    model = create("las1", layer_scale_init=0.5)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-1, 1)
        elif name.endswith("num_batches_tracked"):
            buffer.fill_(7)
    return model


@pytest.fixture
def target():
    torch.manual_seed(2)
    return create("las1")


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_same(model, expected):
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("envelope", [None, "model", "state_dict"])
def test_published_envelopes_load(tmp_path, source, target, envelope, prefix, suffix):
    state = {prefix + name: value for name, value in source.state_dict().items()}
    content = state if envelope is None else {envelope: state, "epoch": 3, "optimizer": {"lr": 1}}
    torch.save(content, tmp_path / f"weights{suffix}")
    load_weights(target, tmp_path / f"weights{suffix}")
    assert_same(target, source.state_dict())


def test_of_a_training_state_the_averaged_weights_load(tmp_path, source, target):
    averaged = source.state_dict()
    raw = {name: torch.zeros_like(value) for name, value in averaged.items()}
    torch.save({"model": raw, "optimizer": {}, "average": averaged}, tmp_path / "state.pt")
    load_weights(target, tmp_path / "state.pt")
    assert_same(target, averaged)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_checkpoints_are_cast_up(tmp_path, source, target, dtype):
    state = {n: v.to(dtype) if v.is_floating_point() else v for n, v in source.state_dict().items()}
    torch.save(state, tmp_path / "half.pth")
    load_weights(target, str(tmp_path / "half.pth"))
    assert all(p.dtype == torch.float32 for p in target.parameters())
    assert_same(target, {n: v.to(source.state_dict()[n].dtype) for n, v in state.items()})


def test_safetensors_round_trip(tmp_path, source, target):
    save_weights(source, tmp_path / "w.safetensors")
    load_weights(target, tmp_path / "w.safetensors")
    assert_same(target, source.state_dict())
    assert [file.name for file in tmp_path.iterdir()] == ["w.safetensors"]


def test_half_safetensors_are_half_the_size_and_keep_vectors_exact(tmp_path, source, target):
    save_weights(source, tmp_path / "full.safetensors")
    save_weights(source, tmp_path / "half.safetensors", half=True)
    sizes = [(tmp_path / f"{kind}.safetensors").stat().st_size for kind in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    load_weights(target, tmp_path / "half.safetensors")
    expected = {n: v.half().float() if v.ndim > 1 else v for n, v in source.state_dict().items()}
    assert_same(target, expected)


def test_save_refuses_other_formats(tmp_path, source):
    with pytest.raises(InputError, match=r"does not end in \.safetensors"):
        save_weights(source, tmp_path / "w.pth")


def write_artefact(path, state, *, half=False, as_kernels=False):
    """A graph with the given initializers, as the exporter stores them."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    tensors = [numpy_helper.from_array(np.ones(3, np.float32), "a_constant_of_the_graph")]
    for name, value in state.items():
        array = value.numpy()
        if as_kernels and value.ndim == 2:
            array = array[:, :, None, None]
        if half and value.ndim > 1:
            array = array.astype(np.float16)
        tensors.append(numpy_helper.from_array(array, name))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    node = helper.make_node("Identity", ["x"], ["y"])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [x], [y], tensors)), path)


@pytest.mark.parametrize("as_kernels", [False, True])
def test_artefacts_are_checkpoints(tmp_path, source, target, as_kernels):
    state = source.state_dict()
    inference = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
    write_artefact(tmp_path / "a.onnx", inference, half=True, as_kernels=as_kernels)
    load_weights(target, tmp_path / "a.onnx")
    expected = {n: v.half().float() if v.ndim > 1 else v for n, v in inference.items()}
    for name, value in target.state_dict().items():
        assert torch.equal(value, expected.get(name, torch.tensor(0))), name


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".onnx"])
def test_a_file_is_read_once(suffix, tmp_path, source, target):
    path, state = tmp_path / f"w{suffix}", source.state_dict()
    if suffix == ".onnx":
        inference = {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")}
        write_artefact(path, inference)
    elif suffix == ".pth":
        torch.save(state, path)
    else:
        save_weights(source, path)
    content = read_weights(path)
    assert content == path.read_bytes()
    path.unlink()
    fill(target, path, content=content)
    name = "refine_3.block.0.weight"
    assert torch.equal(target.state_dict()[name], state[name])


def test_artefact_without_some_weights_is_refused(tmp_path, source, target):
    state = dict(source.state_dict())
    del state["refine_3.block.0.weight"]
    write_artefact(tmp_path / "a.onnx", state)
    with pytest.raises(CheckpointError, match=r"missing: 1 keys \(refine_3\.block\.0\.weight\)"):
        load_weights(target, tmp_path / "a.onnx")


def without_two(state):
    return {n: v for n, v in state.items() if not n.startswith("stem_2.0.block.1.w")}


def renamed(state):
    return {n.replace("refine_3", "refine_9"): v for n, v in state.items()}


def misshapen(state):
    return {**state, "fnet.bn1.weight": torch.ones(31)}


def integer(state):
    return {**state, "fnet.bn1.weight": torch.ones(32, dtype=torch.int64)}


def poisoned(state):
    return {**state, "fnet.bn1.weight": torch.full((32,), float("nan"))}


def overflowing(state):
    return {**state, "fnet.bn1.weight": torch.full((32,), 1e300, dtype=torch.float64)}


def partly_prefixed(state):
    return {("module." + n if n.startswith("fnet") else n): v for n, v in state.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without_two, r"missing: 1 keys \(stem_2\.0\.block\.1\.weight\)"),
        (renamed, r"missing: 1 keys \(refine_3.*unexpected: 1 keys \(refine_9"),
        (misshapen, r"misshapen: 1 keys \(fnet\.bn1\.weight \(31,\) instead of \(32,\)\)"),
        (integer, r"of another type: 1 keys \(fnet\.bn1\.weight torch\.int64 instead of"),
        (poisoned, r"not finite: 1 keys \(fnet\.bn1\.weight\)"),
        (overflowing, r"not finite: 1 keys \(fnet\.bn1\.weight\)"),
        (partly_prefixed, r"missing: \d+ keys \(fnet.* and \d+ more\); unexpected: \d+ keys"),
        (lambda state: {}, r"missing: 680 keys"),
    ],
)
def test_a_misfit_names_the_keys_and_changes_nothing(tmp_path, source, target, change, message):
    torch.save(change(source.state_dict()), tmp_path / "bad.pth")
    before = snapshot(target)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_weights(target, tmp_path / "bad.pth")
    assert "bad.pth" in str(caught.value)
    assert_same(target, before)


def test_weights_in_eight_bits_are_cast_up(tmp_path, source, target):
    eight = torch.ones(32).to(torch.float8_e4m3fn)
    torch.save({**source.state_dict(), "fnet.bn1.weight": eight}, tmp_path / "w.pth")
    load_weights(target, tmp_path / "w.pth")
    assert torch.equal(target.state_dict()["fnet.bn1.weight"], torch.ones(32))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_nested_tensors_are_refused(tmp_path, target):
    torch.save({"fnet": torch.nested.nested_tensor([torch.ones(2)])}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"1 keys \(fnet\) that are not plain tensors"):
        load_weights(target, tmp_path / "w.pth")


def write_said(path, state, **fields):
    """Write an artefact that has a manifest with these fields, and return its path."""
    import onnx

    write_artefact(path, state)
    model = onnx.load(path)
    text = stand_in_manifest(model="las1", **fields).to_json()
    model.metadata_props.add(key=METADATA_KEY, value=text)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_an_artefact_of_other_precision_is_called_so(tmp_path, target, precision):
    path = write_said(tmp_path / "a.onnx", {}, precision=precision)
    with pytest.raises(CheckpointError, match=f"holds an {precision} artefact.* FP32 artefact"):
        load_weights(target, path)


@pytest.mark.parametrize(("said", "passes"), [(1, 1), (None, REFINER_PASSES)])
def test_an_artefact_says_how_often_its_refiner_looks(tmp_path, refining, target, said, passes):
    path = write_said(tmp_path / "a.onnx", refining.state_dict(), refiner_passes=said)
    load_weights(target, path)
    assert target.refiner.passes == passes


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.onnx", b"", "it is empty.*damaged"),
        ("cut.pth", b"PK\x03\x04 broken zip", "cut off or damaged; get it again"),
    ],
)
def test_a_cut_file_is_called_so(tmp_path, target, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_weights(target, tmp_path / name)


def test_what_is_no_tensor_is_named_in_plain_text(tmp_path, target):
    torch.save({"model": {}, "args": argparse.Namespace()}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"it holds argparse\.Namespace\.") as caught:
        load_weights(target, tmp_path / "w.pth")
    assert str(caught.value).isprintable()


def test_weights_of_another_model_are_refused(tmp_path, source):
    save_weights(source, tmp_path / "las1.safetensors")
    told = "it holds weights of las1; choose that model"
    with pytest.raises(CheckpointError, match=told):
        load_weights(create("las2_s"), tmp_path / "las1.safetensors")
    with pytest.raises(CheckpointError, match=told):
        load_weights(create("las2_s"), bundled_artifact("las1"))


def test_a_damaged_artefact_of_the_model_itself_names_the_keys(tmp_path, target):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(bundled_artifact("las1"))
    del model.graph.initializer[
        [tensor.name for tensor in model.graph.initializer].index("fnet.bn1.weight")
    ]
    onnx.save(model, tmp_path / "las1.onnx")
    with pytest.raises(CheckpointError, match=r"missing: 1 keys \(fnet\.bn1\.weight\)"):
        load_weights(target, tmp_path / "las1.onnx")


class _Payload:
    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_pickled_code_is_never_run(tmp_path, target, capsys):
    torch.save({"model": _Payload()}, tmp_path / "evil.pth")
    with pytest.raises(CheckpointError, match=r"evil\.pth.*unpickling"):
        load_weights(target, tmp_path / "evil.pth")
    assert "code from a checkpoint ran" not in capsys.readouterr().out


def test_a_pickled_module_is_refused(tmp_path, target):
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "module.pth")
    with pytest.raises(CheckpointError, match=r"module\.pth.*unpickling"):
        load_weights(target, tmp_path / "module.pth")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".onnx"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 broken zip"])
def test_damaged_files_are_refused(tmp_path, target, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="broken"):
        load_weights(target, path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"model": {"epoch": 1}}, r"1 keys \(epoch\) that are not plain tensors"),
        ({"weights": {"fnet.bn1.weight": torch.ones(32)}}, r"1 keys \(weights\) that are not"),
    ],
)
def test_files_without_a_state_dict_are_refused(tmp_path, target, content, message):
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError, match=message):
        load_weights(target, tmp_path / "odd.pth")


def test_plain_pickles_missing_files_and_foreign_endings_are_refused(tmp_path, target):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps({"a": 1}, protocol=2))
    with pytest.raises(CheckpointError, match="plain"):
        load_weights(target, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="there is no file"):
        load_weights(target, tmp_path / "absent.pth")
    with pytest.raises(CheckpointError, match=r"'\.engine'; weights come as \.pth"):
        load_weights(target, tmp_path / "las1.engine")


@pytest.fixture
def refining():
    torch.manual_seed(3)
    model = create("las1")
    model.refiner = Refiner()
    return model


def test_a_model_has_a_refiner_where_the_file_has_one(tmp_path, refining, source, target):
    save_weights(refining, tmp_path / "refining.safetensors")
    save_weights(source, tmp_path / "plain.safetensors")
    load_weights(target, tmp_path / "refining.safetensors")
    assert_same(target, refining.state_dict())
    load_weights(target, tmp_path / "plain.safetensors")
    assert target.refiner is None
    assert_same(target, source.state_dict())


def test_an_artefact_may_hold_a_refiner(tmp_path, refining, target):
    from litestereo.export import ExportOptions, export_artifact

    save_weights(refining, tmp_path / "refining.safetensors")
    weights = tmp_path / "refining.safetensors"
    options = ExportOptions(weights=weights, refiner_passes=1, gate=False)
    export_artifact(options, output=tmp_path / "refining.onnx")
    load_weights(target, tmp_path / "refining.onnx")
    assert target.refiner.passes == 1
    for name, value in target.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(value, refining.state_dict()[name]), name
    export_artifact(replace(options, refiner_passes=0), output=tmp_path / "plain.onnx")
    load_weights(target, tmp_path / "plain.onnx")
    assert target.refiner is None
    assert read_artifact(tmp_path / "plain.onnx").manifest.refiner_passes == 0


def test_a_part_of_a_refiner_is_refused(tmp_path, refining, target):
    before = snapshot(target)
    state = refining.state_dict()
    del state["refiner.conv1.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(CheckpointError, match=r"missing: 1 keys \(refiner\.conv1\.weight\)"):
        load_weights(target, tmp_path / "part.pth")
    assert target.refiner is None
    assert_same(target, before)
