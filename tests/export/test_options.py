from __future__ import annotations

import pytest

from litestereo.errors import ExportError
from litestereo.export.options import ExportOptions


def test_defaults_are_a_dynamic_fp32_las1():
    options = ExportOptions()
    assert options.size is None
    assert options.file_name == "las1_fp32.onnx"


def test_the_file_name_tells_size_and_precision():
    options = ExportOptions(model="las2_m", height=384, width=1248, precision="fp16")
    assert options.size == (384, 1248)
    assert options.file_name == "las2_m_384x1248_fp16.onnx"


def test_half_weights_have_a_name_of_their_own():
    assert ExportOptions(half_weights=True).file_name == "las1_fp32_half_weights.onnx"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model": "las3"}, "model is 'las3'; choose one of: las1, las2_s"),
        ({"precision": "int4"}, "precision is 'int4'; choose one of: fp32, fp16, int8"),
        ({"exporter": "onnx"}, "exporter is 'onnx'; choose one of: torchscript, dynamo"),
        ({"height": 64}, "height is 64 and width is None; a fixed size needs both"),
        ({"height": 100, "width": 128}, "height is 100; it must be a multiple of 32 .* Use 128"),
        ({"height": 64, "width": 32}, "width is 32; .* at least 64 pixels. Use 64"),
        ({"height": -64, "width": 64}, "height is -64"),
        ({"half_weights": True, "precision": "fp16"}, "choose one of the two"),
    ],
)
def test_what_cannot_be_exported_is_refused(fields, message):
    with pytest.raises(ExportError, match=message):
        ExportOptions(**fields)
