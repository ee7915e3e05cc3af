"""Q/DQ: what it computes, where it is, and that ONNX Runtime's quantiser agrees."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from int8_graphs import convolution_graph, observed
from onnx import TensorProto, numpy_helper

from litestereo.calibration.ranges import RANGE_METHODS
from litestereo.export.blocks import FLOAT_PARTS, blocks_of, plan_convolutions
from litestereo.export.graph import opset_of
from litestereo.export.int8 import nodes_by_type, typed_int8
from litestereo.export.qdq import QuantizeOptions, quantized, switch_of, switched

PLAIN = QuantizeOptions("minmax", correct_bias=False)


def outputs(model, *names, **feed):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(list(names) or None, feed)


def with_outputs(model, *names):
    watched = type(model)()
    watched.CopyFrom(model)
    for name in names:
        watched.graph.output.add(name=name).type.tensor_type.elem_type = TensorProto.FLOAT
    return watched


@pytest.fixture
def case(rng):
    """Return a graph, its plan, an input and the statistics of its activations."""
    model = convolution_graph(rng)
    x = rng.normal(0.3, 1, (1, 16, 12, 20)).astype(np.float32)
    b, c = outputs(with_outputs(model, "b", "c"), "b", "c", x=x)
    return model, plan_convolutions(model), x, observed(x=x, b=b, c=c)


def constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_computes_what_a_plain_version_computes(case):
    model, plan, x, statistics = case
    first = plan.candidates[:1]
    found = quantized(model, first, statistics=statistics, options=PLAIN)
    stored = constants(model)
    step = float(np.float16(np.abs(x).max() / 127))
    step = step if step >= np.abs(x).max() / 127 else float(np.nextafter(np.float16(step), np.inf))
    weights = stored["first"].copy()
    for channel in weights:
        wanted = np.abs(channel).max() / 127
        half = np.float16(wanted)
        half = half if half >= wanted else np.nextafter(half, np.float16(np.inf))
        channel[:] = np.rint(channel / np.float32(half)) * np.float32(half)
    for tensor in model.graph.initializer:
        if tensor.name == "first":
            tensor.CopyFrom(numpy_helper.from_array(weights, "first"))
    expected = outputs(model, x=np.rint(x / np.float32(step)) * np.float32(step))[0]
    assert outputs(found, x=x)[0] == pytest.approx(expected, abs=1e-5)


def test_every_q_and_dq_is_what_tensorrt_8_6_reads(case):
    model, plan, _, statistics = case
    found = quantized(model, plan.candidates, statistics=statistics, options=QuantizeOptions())
    assert opset_of(found) == 17
    stored = constants(found)
    readers = {name: node for node in found.graph.node for name in node.input}
    kinds = [node.op_type for node in found.graph.node]
    assert kinds.count("QuantizeLinear") == 3
    assert kinds.count("DequantizeLinear") == 6
    for node in found.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            assert stored[node.input[1]].dtype == np.float32
            assert stored[node.input[2]].dtype == np.int8
            assert not stored[node.input[2]].any(), "zero points are 0"
        if node.op_type == "DequantizeLinear":
            assert readers[node.output[0]].op_type in ("Conv", "ConvTranspose")
    assert stored["first::int8"].dtype == np.int8
    assert "first" not in stored, "FP32 weights are gone"
    assert stored["first::steps"].shape == (24,)
    assert stored["up::steps"].shape == (16,), "a transposed convolution's outputs are its axis 1"


@pytest.mark.parametrize("ranges", RANGE_METHODS)
def test_all_ranges_stay_near_fp32(ranges, case):
    model, plan, x, statistics = case
    options = QuantizeOptions(ranges)
    found = quantized(model, plan.candidates, statistics=statistics, options=options)
    expected = outputs(model, x=x)[0]
    error = np.sqrt(np.square(outputs(found, x=x)[0] - expected).mean())
    assert error < 0.15 * expected.std(), ranges


def test_bias_correction_takes_the_mean_error_out(case, rng):
    model, plan, _, _ = case
    # Inputs that are nearly constant: there the error of rounded weights is all mean.
    x = (3 + 0.1 * rng.normal(0, 1, (1, 16, 40, 40))).astype(np.float32)
    b, c = outputs(with_outputs(model, "b", "c"), "b", "c", x=x)
    statistics = observed(x=x, b=b, c=c)
    for index, convolution in enumerate(plan.candidates):
        errors = {}
        for correct in (False, True):
            options = QuantizeOptions("minmax", correct_bias=correct)
            found = quantized(model, [convolution], statistics=statistics, options=options)
            name = ("a", "c", "y")[index]
            ours, theirs = (outputs(with_outputs(m, name), name, x=x)[0] for m in (found, model))
            inside = (ours - theirs)[:, :, 4:-4, 4:-4]
            errors[correct] = float(np.abs(inside.mean(axis=(0, 2, 3))).mean())
        assert errors[True] < 0.5 * errors[False], convolution.name


def test_switches_turn_blocks_on_one_by_one(case):
    model, plan, x, statistics = case
    blocks = blocks_of(plan.candidates)
    assert list(blocks) == ["part/conv", "part/grouped", "up"]
    found = switched(model, blocks, statistics=statistics, options=QuantizeOptions())
    for on in ([], ["part/grouped"], ["part/conv", "up"], list(blocks)):
        members = [one for name in on for one in blocks[name]]
        expected = quantized(model, members, statistics=statistics, options=QuantizeOptions())
        flags = {switch_of(name): np.array(name in on) for name in blocks}
        same = outputs(expected, x=x)[0]
        assert outputs(found, "y", x=x, **flags)[0] == pytest.approx(same, abs=1e-5), on


def test_onnx_runtimes_quantiser_finds_the_same_codes(case, tmp_path):
    import onnx
    from onnxruntime import quantization as ort

    model, plan, x, statistics = case
    onnx.save(model, tmp_path / "plain.onnx")

    class Reader(ort.CalibrationDataReader):
        def __init__(self):
            self.feeds = iter([{"x": x}])

        def get_next(self):
            return next(self.feeds, None)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ort.quantize_static(
            str(tmp_path / "plain.onnx"),
            str(tmp_path / "theirs.onnx"),
            Reader(),
            quant_format=ort.QuantFormat.QDQ,
            per_channel=True,
            activation_type=ort.QuantType.QInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=ort.CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                "OpTypesToExcludeOutputQuantization": ["Conv", "ConvTranspose"],
            },
        )
    theirs = onnx.load(tmp_path / "theirs.onnx")
    ours = quantized(model, plan.candidates, statistics=statistics, options=PLAIN)
    codes = {name: constants(ours)[f"{name}::int8"] for name in ("first", "grouped", "up")}
    for name, found in codes.items():
        other = constants(theirs)[f"{name}_quantized"].astype(int)
        # Our steps are rounded up to half numbers, by up to a thousandth: a code may move by one.
        assert np.abs(found - other).max() <= 1, name
        assert (found == other).mean() > 0.9, name
    close = outputs(theirs, x=x)[0] - outputs(ours, x=x)[0]
    assert np.sqrt(np.square(close).mean()) < 0.02 * outputs(model, x=x)[0].std()


def test_the_typed_form_is_half_around_the_same_codes(case):
    model, plan, _, statistics = case
    # What makes an output is in the FP32 island behind a softmax, as in the networks.
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.add(op_type="Softmax", name="/model/Softmax", input=["scores"], output=["y"])
    plain = quantized(model, plan.candidates, statistics=statistics, options=QuantizeOptions())
    typed = typed_int8(plain)
    assert opset_of(typed) == 19
    before, after = constants(plain), constants(typed)
    for name, values in before.items():
        if name.endswith("::int8"):
            assert np.array_equal(values, after[name])
        if name.endswith(("::step", "::steps")):
            half = after[f"{name}::float16"]
            assert np.array_equal(half.astype(np.float32), values), "half holds the step exactly"
    made_by = {name: node.op_type for node in typed.graph.node for name in node.output}
    for node in typed.graph.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            assert [made_by[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2


def test_nodes_are_counted_in_the_graph_that_is_written(case):
    model, plan, _, statistics = case
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.add(op_type="Softmax", name="/model/Softmax", input=["scores"], output=["y"])
    first = plan.candidates[:1]
    plain = quantized(model, first, statistics=statistics, options=QuantizeOptions())
    names = {one.name for one in first}
    counts = {"int8": 1, "fp16": 0, "fp32": 4, "cast": 0, "other": 3}
    assert nodes_by_type(plain, names) == counts
    typed = nodes_by_type(typed_int8(plain), names)
    assert (typed["int8"], typed["fp16"], typed["fp32"], typed["other"]) == (1, 3, 1, 3)


def test_the_recurrent_tail_stays_in_floating_point(case):
    model = onnx.ModelProto()
    model.CopyFrom(case[0])
    for part, node in zip(("cnet", "", "update_block/gru"), model.graph.node, strict=False):
        node.name = node.name.replace("/part/", f"/{part}/")
    assert plan_convolutions(model).kept == {
        "/model/cnet/conv/Conv": "recurrent tail",
        "/model/update_block/gru/grouped/Conv": "recurrent tail",
    }


def test_convolutions_beyond_halfs_range_stay_in_floating_point(case):
    model, plan, _, _ = case
    assert plan.kept == {}
    assert plan_convolutions(model, widened=("c",)).kept == {
        "/model/part/grouped/Conv": "range",
        "/model/up/ConvTranspose": "range",
    }


@pytest.mark.parametrize("name", ["las1", "las2_s", "las2_h"])
def test_what_must_stay_in_floating_point_does(name, exported):
    from litestereo.export.simplify import simplify

    plan = plan_convolutions(simplify(exported(name).graph))
    assert set(plan.kept.values()) <= set(FLOAT_PARTS)
    assert {"last aggregation", "upsampling", "pictures"} <= set(plan.kept.values())
    names = " ".join(one.name for one in plan.candidates)
    for part in (
        "cost_stem",
        "refine_",
        "stem_2",
        "redir1",
        "upconv2",
        "conv6",
        "spx",
        "update_block",
        "cnet",
    ):
        assert part not in names
    blocks = blocks_of(plan.candidates)
    assert len(blocks) > 20
    assert sum(map(len, blocks.values())) == len(plan.candidates)


@pytest.mark.parametrize("name", ["las1", "las2_s"])
def test_fp32_islands_keep_away_from_8_bits_but_for_normalisations(name, exported):
    from litestereo.export.half import half_from_master
    from litestereo.export.simplify import simplify

    master = simplify(exported(name).graph)
    chosen = {one.name for one in plan_convolutions(master).candidates}
    touched = {
        tensor
        for node in master.graph.node
        if node.name in chosen
        for tensor in (node.input[0], node.output[0])
    }
    islands = half_from_master(master).islands
    held = {
        node for island, nodes in islands.items() if island != "instance_norm" for node in nodes
    }
    assert held
    for node in master.graph.node:
        if node.name in held:
            assert touched.isdisjoint([*node.input, *node.output]), node.name
