"""What an engine ran in, from the JSON of each inspector generation (samples constructed)."""

import json

import pytest

from litestereo.errors import EngineError
from litestereo.runtime.tensorrt.attestation import read_inspection


def layer(name, kind, *, key="Format/Datatype", layer_type="CaskConvolution"):
    return {"Name": name, "LayerType": layer_type, "Outputs": [{"Name": "o", key: kind}]}


def attestation(*layers, **options):
    return read_inspection(json.dumps({"Layers": list(layers)}), **options)


@pytest.mark.parametrize(
    ("half", "single", "key"),
    [
        (
            "Channel major FP16 format where C % 8 == 0",
            "Row major linear FP32",
            "Format/Datatype",
        ),
        ("Half", "Float", "Format/Datatype"),
        ("Half", "Float", "DataType"),
    ],
)
def test_counts_the_layers_of_each_generation(half, single, key):
    found = attestation(
        layer("a", half, key=key),
        layer("b", half, key=key),
        layer("c", single, key=key),
        layer("moved", half, key=key, layer_type="Reformat"),
    )
    assert found.layers == {"fp16": 2, "fp32": 1}
    assert found.uncounted == 1
    assert found.share("fp16") == pytest.approx(2 / 3)


def test_refuses_an_engine_without_a_half_layer():
    found = attestation(layer("a", "Float"), layer("b", "Float"))
    with pytest.raises(EngineError, match="not one layer is half"):
        found.require("fp16", half_share=0.8, name="las1")
    found.require("fp32", half_share=0.0, name="las1")


def test_refuses_half_in_an_fp32_graph():
    with pytest.raises(EngineError, match="FP32 throughout"):
        attestation(layer("a", "Half"), layer("b", "Float")).require(
            "fp32", half_share=0.0, name="las1"
        )


def test_finds_narrowed_islands():
    found = attestation(
        layer("PWN(/Softmax)", "Half"), layer("/Conv", "Half"), islands={"/Softmax"}
    )
    assert found.narrowed == ("PWN(/Softmax)",)
    with pytest.raises(EngineError, match="islands were narrowed"):
        found.require("fp16", half_share=1.0, name="las1")


@pytest.mark.parametrize("text", ["{", '{"Layers": ["a"]}', "[1]"])
def test_an_engine_without_details_is_refused(text):
    with pytest.raises(EngineError, match="inspector"):
        read_inspection(text)
