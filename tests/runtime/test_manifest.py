import json

import pytest
from stand_in import stand_in_manifest

from litestereo.errors import EngineError
from litestereo.runtime.manifest import InputSpec, Manifest


def test_a_manifest_survives_json():
    manifest = stand_in_manifest(
        input=InputSpec(96, 128), parity={"max_px": 0.5}, graph_sha256="ab", precision="fp16"
    )
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_fields_of_later_versions_are_ignored():
    data = {**json.loads(stand_in_manifest().to_json()), "colour": "green"}
    assert Manifest.from_json(json.dumps(data)) == stand_in_manifest()


def test_half_weights_and_passes_survive_json():
    manifest = stand_in_manifest(half_weights=True, refiner_passes=1)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_parity_and_graph_hash_may_be_absent():
    data = json.loads(stand_in_manifest().to_json())
    del data["parity"], data["graph_sha256"], data["half_weights"], data["refiner_passes"]
    manifest = Manifest.from_json(json.dumps(data))
    assert manifest.parity == {}
    assert manifest.graph_sha256 is None
    assert manifest.half_weights is False
    assert manifest.refiner_passes is None


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format_version", 2, "manifest format 2, this litestereo reads 1"),
        ("format_version", True, "must be a int"),
        ("model", None, "has no 'model'"),
        ("opset", "17", "opset = '17'; it must be a int"),
        ("precision", "int4", "must be one of fp32, fp16"),
        ("disparity_range_px", [0], "two numbers"),
        ("disparity_range_px", [0, "far"], "two numbers"),
        ("disparity_range_px", [192, 0], "low < high"),
        ("outputs", [1], "must be names"),
        ("tools", [], "must be a dict"),
        ("half_weights", 1, "must be a bool"),
        ("refiner_passes", True, "must be a int"),
        ("refiner_passes", 10**9, "refiner_passes is 1000000000; it must be 0 to 4"),
    ],
)
def test_a_wrong_field_is_named(field, value, message):
    data = {**json.loads(stand_in_manifest().to_json()), field: value}
    with pytest.raises(EngineError, match=message.replace("[", r"\[")):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize("field", ["model", "input", "opset", "weights_sha256", "tools", "outputs"])
def test_a_missing_field_is_named(field):
    data = json.loads(stand_in_manifest().to_json())
    del data[field]
    with pytest.raises(EngineError, match=f"has no '{field}'"):
        Manifest.from_json(json.dumps(data))


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", "JSON list")])
def test_other_text_is_refused(text, message):
    with pytest.raises(EngineError, match=message):
        Manifest.from_json(text)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"height": 96}, "both sizes are fixed or neither"),
        ({"height": 100, "width": 128}, "multiples of 32"),
        ({"height": 0, "width": 128}, "positive"),
        ({"multiple_of": 0}, "multiple_of is 0"),
        ({"layout": "CHW"}, "uint8 RGB CHW"),
        ({"dtype": "float32"}, "float32"),
    ],
)
def test_an_input_that_cannot_be_fed_is_refused(sizes, message):
    with pytest.raises(EngineError, match=message):
        InputSpec(**sizes)
