import sys

import numpy as np
import onnx
import pytest
from stand_in import expected, stand_in_manifest, stand_in_model, write_stand_in

from litestereo.errors import EngineError, InputError, MissingDependencyError
from litestereo.runtime.backends import BackendOptions, open_backend

NAME = "onnxruntime-cpu"


def pair(rng, height=64, width=96):
    return tuple(rng.integers(0, 256, (height, width, 3), np.uint8) for _ in range(2))


@pytest.mark.parametrize("level", ["off", "basic", "all"])
def test_it_computes_what_the_graph_says(tmp_path, rng, level):
    artifact = write_stand_in(tmp_path / "a.onnx")
    backend = open_backend(
        NAME, artifact, options=BackendOptions(threads=1, graph_optimization=level)
    )
    left, right = pair(rng)
    disparity, confidence = backend.infer(left, right)
    wanted = expected(left, right)
    np.testing.assert_allclose(disparity, wanted[0], atol=1e-4)
    np.testing.assert_allclose(confidence, wanted[1], atol=1e-6)
    assert (backend.name, backend.device, backend.precision) == (NAME, "cpu", "fp32")
    assert backend.manifest == stand_in_manifest()
    assert backend.fixed_size is None
    backend.close()


def test_a_half_precision_artifact_is_said_to_run_in_float(tmp_path):
    manifest = stand_in_manifest(precision="fp16").to_json()
    backend = open_backend(
        NAME, write_stand_in(tmp_path / "a.onnx", manifest=manifest), options=BackendOptions()
    )
    assert backend.manifest.precision == "fp16"
    assert backend.precision == "fp32"


def test_a_fixed_size_is_known_and_a_wrong_size_is_our_error(tmp_path, rng):
    backend = open_backend(
        NAME, write_stand_in(tmp_path / "a.onnx", size=(64, 96)), options=BackendOptions()
    )
    assert backend.fixed_size == (64, 96)
    with pytest.raises(EngineError, match="failed on a 96x96 pair") as caught:
        backend.infer(*pair(rng, 96, 96))
    assert caught.value.__cause__ is not None


def test_tensors_in_other_files_are_refused(tmp_path):
    path = tmp_path / "a.onnx"
    onnx.save(
        stand_in_model(),
        path,
        save_as_external_data=True,
        location="a.data",
        size_threshold=0,
        convert_attribute=True,
    )
    assert (tmp_path / "a.data").stat().st_size > 0
    with pytest.raises(EngineError, match="one self-contained file"):
        open_backend(NAME, path, options=BackendOptions())


def test_files_that_are_no_artifact_are_refused(tmp_path):
    text = tmp_path / "text.onnx"
    text.write_text("not a graph")
    with pytest.raises(EngineError, match="cannot load") as caught:
        open_backend(NAME, text, options=BackendOptions())
    assert caught.value.__cause__ is not None
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(write_stand_in(tmp_path / "a.onnx").read_bytes()[:300])
    with pytest.raises(EngineError, match="cannot load"):
        open_backend(NAME, cut, options=BackendOptions())
    with pytest.raises(EngineError, match="not a file"):
        open_backend(NAME, tmp_path / "nothing.onnx", options=BackendOptions())


def test_a_graph_without_manifest_is_refused(tmp_path):
    artifact = write_stand_in(tmp_path / "a.onnx", manifest=None)
    with pytest.raises(EngineError, match="no litestereo manifest"):
        open_backend(NAME, artifact, options=BackendOptions())


def test_a_graph_with_other_inputs_is_refused(tmp_path):
    model = stand_in_model()
    model.graph.input[0].name = "image"
    for node in model.graph.node:
        node.input[:] = ["image" if name == "left" else name for name in node.input]
    onnx.save(model, tmp_path / "a.onnx")
    with pytest.raises(EngineError, match="takes left and right"):
        open_backend(NAME, tmp_path / "a.onnx", options=BackendOptions())


def test_an_unknown_backend_lists_the_known(tmp_path):
    with pytest.raises(InputError, match="'tpu'; there is: onnxruntime-cpu"):
        open_backend("tpu", tmp_path / "a.onnx", options=BackendOptions())


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    artifact = write_stand_in(tmp_path / "a.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'litestereo\[cpu\]'"):
        open_backend(NAME, artifact, options=BackendOptions())


def test_another_provider_is_never_accepted(tmp_path, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(
        onnxruntime.InferenceSession, "get_providers", lambda _: ["OtherExecutionProvider"]
    )
    with pytest.raises(EngineError, match="not the CPU"):
        open_backend(NAME, write_stand_in(tmp_path / "a.onnx"), options=BackendOptions())


@pytest.mark.parametrize(
    "options", [{"threads": 0}, {"threads": 10**11}, {"graph_optimization": "most"}]
)
def test_options_are_checked(options):
    with pytest.raises(InputError, match="must be"):
        BackendOptions(**options)
