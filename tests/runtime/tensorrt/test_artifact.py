import onnx
import pytest
from stand_in import stand_in_manifest, stand_in_model, write_stand_in

from litestereo.assets import bundled_artifact, bundled_models
from litestereo.errors import EngineError
from litestereo.runtime.tensorrt.artifact import read_artifact


def test_the_manifest_is_read_without_onnx(tmp_path):
    path = write_stand_in(tmp_path / "a.onnx")
    artifact = read_artifact(path)
    assert artifact.manifest == stand_in_manifest()
    assert artifact.content == path.read_bytes()


@pytest.mark.parametrize("model", bundled_models())
def test_bundled_artefacts_are_read(model):
    assert read_artifact(bundled_artifact(model)).manifest.model == model


def test_the_identity_is_the_graphs(tmp_path):
    first = read_artifact(write_stand_in(tmp_path / "a.onnx"))
    remark = stand_in_manifest(weights_source="another remark").to_json()
    second = read_artifact(write_stand_in(tmp_path / "b.onnx", manifest=remark))
    third = read_artifact(write_stand_in(tmp_path / "c.onnx", gain=0.75))
    assert first.content != second.content
    assert first.graph_sha256 == second.graph_sha256 != third.graph_sha256


def test_what_is_no_artefact_is_refused(tmp_path):
    whole = write_stand_in(tmp_path / "a.onnx").read_bytes()
    bad = tmp_path / "bad.onnx"
    for content in (whole[: len(whole) // 3], b"not a graph at all", b"\xff" * 40, b"\x08"):
        bad.write_bytes(content)
        with pytest.raises(EngineError, match=r"bad\.onnx is no ONNX file"):
            read_artifact(bad)
    with pytest.raises(EngineError, match="cannot read"):
        read_artifact(tmp_path / "nothing.onnx")
    onnx.save(stand_in_model(manifest=None), bad)
    with pytest.raises(EngineError, match="no litestereo manifest"):
        read_artifact(bad)
