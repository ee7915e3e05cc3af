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


def test_control_characters_in_names_are_read_over():
    # 8.6.0 writes them as they are, which JSON forbids.
    text = json.dumps({"Layers": [layer("a b", "Half")]}).replace("a b", "a\x01\nb")
    assert read_inspection(text).layers == {"fp16": 1}


def fused(name, inputs, outputs):
    kinds = {"Inputs": inputs, "Outputs": outputs}
    tensors = {
        k: [{"Name": "t", "Format/Datatype": v} for v in found] for k, found in kinds.items()
    }
    return {"Name": name, "LayerType": "CaskConvolution", **tensors}


def test_a_layer_is_int8_by_what_it_reads():
    found = attestation(
        fused("/conv", ["Int8"], ["Half"]),
        fused("/chained + /next/Quantize", ["Int8"], ["Int8"]),
        fused("/norm + /conv2/Quantize", ["Half"], ["Int8"]),
        fused("/a/Quantize", ["Half"], ["Int8"]),
        fused("/levels", ["UInt8"], ["Float"]),
    )
    assert found.layers == {"int8": 2, "fp16": 1, "fp32": 1}
    assert found.precision == "int8"
    assert found.uncounted == 1
    found.require("int8", half_share=0.5, name="las1", int8_nodes=4)
    with pytest.raises(EngineError, match="2 layers are INT8 for 5 quantised convolutions"):
        found.require("int8", half_share=0.5, name="las1", int8_nodes=5)


def test_an_int8_engine_without_int8_is_refused():
    with pytest.raises(EngineError, match="not one layer is INT8"):
        attestation(layer("a", "Half")).require("int8", half_share=1.0, name="las1")
