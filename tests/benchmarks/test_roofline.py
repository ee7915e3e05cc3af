"""The roofline's counts, against graphs that are counted by hand and against the specification."""

import json
from collections import Counter

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from litestereo.assets import bundled_artifact
from litestereo.benchmarks.readme import read_result
from litestereo.benchmarks.roofline import (
    Traffic,
    floors_of,
    roofline_from_json,
    roofline_of,
)
from litestereo.benchmarks.roofline_count import count_kernels, count_layers
from litestereo.benchmarks.roofline_devices import DEVICES, RooflineDevice, devices_called
from litestereo.cli import bench_main
from litestereo.errors import InputError
from litestereo.models import MODEL_SPECS

SIZE = (64, 96)
C, H, W = 8, 6, 10
PIXELS = H * W


def graph(nodes, weights, *, outputs=("out",)):
    """A graph on one (1, 4, H, W) float input."""
    made = helper.make_graph(
        nodes,
        "by hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, H, W])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.ones(shape, np.float32), name) for name, shape in weights],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)])


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs, [output], f"/model/{output}", **attributes)


@pytest.fixture
def residual():
    """A convolution, ReLU, a gate and a residual, then a transpose."""
    return graph(
        [
            node("Conv", ["x", "w", "b"], "conv", pads=[1, 1, 1, 1]),
            node("Relu", ["conv"], "relu"),
            node("Conv", ["relu", "v"], "second"),
            node("Mul", ["second", "gamma"], "scaled"),
            node("Add", ["scaled", "relu"], "sum"),
            node("Transpose", ["sum"], "out", perm=[0, 2, 3, 1]),
        ],
        [("w", (C, 4, 3, 3)), ("b", (C,)), ("v", (C, C, 1, 1)), ("gamma", (C, 1, 1))],
    )


def test_each_node_reads_and_writes_all_of_its_own(residual):
    conv, relu, second, scaled, _, moved = count_layers(residual)
    assert conv.macs == PIXELS * C * 4 * 9
    assert conv.operations == 2 * conv.macs
    assert conv.half == Traffic(2 * 4 * PIXELS, 2 * C * PIXELS, 2 * (C * 4 * 9 + C))
    assert conv.full_bytes == 2 * conv.half.total
    assert (relu.operations, relu.half) == (C * PIXELS, Traffic(2 * C * PIXELS, 2 * C * PIXELS, 0))
    assert second.macs == PIXELS * C * C
    assert scaled.half.weights == 2 * C
    # What leaves the graph stays FP32.
    assert (moved.operations, moved.half.outward) == (0, 4 * C * PIXELS)


def test_pointwise_chains_join_what_makes_their_operand(residual):
    first, second, last = count_kernels(residual)
    operators = [kernel.operators for kernel in (first, second, last)]
    assert operators == ["Conv+Relu", "Conv+Mul+Add", "Transpose"]
    assert first.half == Traffic(2 * 4 * PIXELS, 2 * C * PIXELS, 2 * (C * 4 * 9 + C))
    # The residual is the convolution's own input: read once.
    assert second.half == Traffic(2 * C * PIXELS, 2 * C * PIXELS, 2 * (C * C + C))
    assert last.half.inward == 2 * C * PIXELS
    assert sum(k.macs for k in count_kernels(residual)) == sum(
        layer.macs for layer in count_layers(residual)
    )


def test_a_broadcast_operand_makes_no_host():
    # The gate is made last, but by a kernel of another size: the product joins the convolution.
    gated = graph(
        [
            node("Conv", ["x", "w"], "conv"),
            node("ReduceMean", ["x"], "mean", axes=[2, 3]),
            node("Mul", ["conv", "mean"], "out"),
        ],
        [("w", (4, 4, 1, 1))],
    )
    conv, mean = count_kernels(gated)
    assert conv.operators == "Conv+Mul"
    assert conv.half.inward == 2 * (4 * PIXELS + 4)
    assert (mean.operations, mean.half) == (4 * PIXELS, Traffic(2 * 4 * PIXELS, 2 * 4, 0))


def test_concatenations_are_free_and_selections_read_what_they_keep():
    halves = graph(
        [
            node("Slice", ["x", "starts", "ends", "axes"], "left"),
            node("Relu", ["x"], "right"),
            node("Concat", ["left", "right"], "both", axis=1),
            node("Conv", ["both", "w"], "out"),
        ],
        [("w", (C, 7, 1, 1))],
    )
    for name, value in (("starts", 0), ("ends", 3), ("axes", 1)):
        halves.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
    selected, relu, conv = count_kernels(halves)
    assert selected.half == Traffic(2 * 3 * PIXELS, 2 * 3 * PIXELS, 0)
    assert relu.half == Traffic(2 * 4 * PIXELS, 2 * 4 * PIXELS, 0)
    assert conv.half.inward == 2 * 7 * PIXELS
    unfused = count_layers(halves)[2]
    assert unfused.half == Traffic(2 * 7 * PIXELS, 2 * 7 * PIXELS, 0)


def test_a_deconvolution_counts_its_input_and_a_product_its_inner_side():
    several = graph(
        [
            node("ConvTranspose", ["x", "w"], "up", strides=[2, 2]),
            node("MatMul", ["up", "m"], "out"),
        ],
        [("w", (4, 3, 2, 2)), ("m", (2 * W, 5))],
    )
    up, product = count_layers(several)
    assert up.macs == 4 * PIXELS * 3 * 4
    assert product.macs == 3 * 2 * H * 5 * 2 * W


def test_floors_take_the_slower_of_arithmetic_and_memory(residual):
    layers, kernels = count_layers(residual), count_kernels(residual)
    memory = RooflineDevice("m", "", half_flops=1e30, bytes_per_s=1e9, measured=True, source="")
    arithmetic = RooflineDevice("a", "", half_flops=1e9, bytes_per_s=1e30, measured=True, source="")
    floors = floors_of(layers, kernels, device=memory)
    assert floors.fused_ms == pytest.approx(sum(k.half.total for k in kernels) / 1e6)
    assert floors.unfused_ms == pytest.approx(sum(n.half.total for n in layers) / 1e6)
    assert floors.memory_bound == 1
    floors = floors_of(layers, kernels, device=arithmetic)
    assert floors.fused_ms == pytest.approx(sum(k.operations for k in kernels) / 1e6)
    assert floors.memory_bound == pytest.approx(0, abs=1e-9)
    assert sum(floors.blocks_ms.values()) == pytest.approx(floors.fused_ms)


def test_jetsons_count_dense_operations():
    # A quarter of the sparse 8-bit figures that the data sheets print.
    for name, sparse_tops in (("orin-nano", 40), ("orin-nano-super", 67), ("agx-orin", 170)):
        assert DEVICES[name].half_flops == pytest.approx(sparse_tops / 4 * 1e12, rel=0.03)
    assert all(device.source for device in DEVICES.values())
    assert [device.name for device in DEVICES.values() if device.measured] == ["h200"]
    with pytest.raises(InputError, match="no device is called 'gtx'"):
        devices_called(("gtx",))


@pytest.fixture(scope="module", params=["las1", "las2_m"])
def counted(request):
    name = request.param
    # An artefact counts as its model does, and need not be exported.
    subject = str(bundled_artifact(name)) if name == "las1" else name
    roofline = roofline_of(subject, sizes=[SIZE], devices=devices_called(("orin-nano",)))
    return name, roofline.sizes[0]


def test_totals_are_the_specification_s(counted):
    name, sized = counted
    network = [n for n in sized.layers if n.block != "refiner"]  # which is ours
    convolutions = sum(n.macs for n in network if n.operator.startswith("Conv")) / 1e9
    # Multiply-adds follow the area; the volume's product of matrices is not in the published count.
    scale = (384 * 1248) / (SIZE[0] * SIZE[1])
    assert convolutions * scale == pytest.approx(MODEL_SPECS[name].gmacs_384x1248, abs=0.05)
    assert sum(k.macs for k in sized.kernels) == sum(n.macs for n in sized.layers)
    assert sized.megabytes(fused=True) < 0.6 * sized.megabytes(fused=False)
    assert sized.megabytes(fused=True, half=False) == pytest.approx(
        2 * sized.megabytes(fused=True), rel=0.03
    )
    blocks = {layer.block for layer in sized.layers}
    assert {"pictures", "volume", "disparity", "fnet"} <= blocks


def test_a_bundled_artefact_has_the_parts_of_its_model():
    def parts(subject):
        roofline = roofline_of(subject, sizes=[SIZE], devices=devices_called(("orin-nano",)))
        macs = Counter()
        for layer in roofline.sizes[0].layers:
            macs[layer.block] += layer.macs
        del macs["refiner"]  # which a model has none of
        return macs

    assert parts(str(bundled_artifact("las1"))) == parts("las1")


def test_the_command_prints_parts_and_writes_what_reads_back(tmp_path, run_command):
    bench, path = run_command(bench_main), tmp_path / "roofline.json"
    arguments = ["roofline", bundled_artifact("las1"), "--size", "64x96", "--device", "thor"]
    status, table, _ = bench(*arguments, "-o", path)
    assert status == 0
    assert "cost_agg_2d/conv0" in table
    assert "Jetson Thor T5000, ms" in table
    assert read_result(path).sizes[0].floors[0].device == "thor"
    status, table, _ = bench(*arguments, "--layers")
    assert status == 0
    assert "/model/MatMul" in table
    content = json.loads(path.read_text())
    content["sizes"][0]["floors"][0]["fused_ms"] /= 2
    with pytest.raises(InputError, match="but its parts make"):
        roofline_from_json(content)


def test_what_cannot_be_counted_is_refused(tmp_path, run_command):
    bench, fixed = run_command(bench_main), tmp_path / "fixed.onnx"
    status, _, words = bench("roofline", "las9")
    assert (status, "neither a model" in words) == (1, True)
    status, _, words = bench("roofline", tmp_path / "absent.onnx", "--size", "65x96")
    assert (status, "size is 65x96; both sides must be multiples of 32" in words) == (1, True)
    onnx.save(graph([node("Relu", ["x"], "out")], []), fixed)
    status, _, words = bench("roofline", fixed, "--size", "64x96")
    assert (status, "asked for" in words) == (1, True)
