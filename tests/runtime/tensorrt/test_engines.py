"""From an artefact to an engine: what else lies in its folder, and what tells engines apart."""

import pytest
from fake_cuda import FakeDevice, fake_info
from fake_tensorrt import fake_tensorrt
from onnx import helper
from stand_in import stand_in_manifest, write_stand_in

from litestereo.errors import EngineError
from litestereo.runtime.tensorrt import engines
from litestereo.runtime.tensorrt.artifact import Artifact, read_artifact
from litestereo.runtime.tensorrt.engines import cache_key, engine_from_artifact, pinned_nodes
from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions, SizeRange
from litestereo.runtime.tensorrt.recipe import recipe

SIZES = SizeRange.fixed((64, 96))


@pytest.fixture
def artifact(tmp_path):
    return read_artifact(write_stand_in(tmp_path / "a.onnx"))


def key_of(artifact, **info):
    options = GpuOptions(cache_dir=artifact.path.parent)
    info = fake_info(**info)
    return cache_key(fake_tensorrt(), artifact, sizes=SIZES, info=info, options=options)


RANGE = SizeRange((32, 64), (64, 96), (128, 160))


def built(artifact, *, attested=True, **behaviour):
    device = FakeDevice()
    trt = fake_tensorrt("8.6.2", device=device, **behaviour)
    options = GpuOptions(
        cache_dir=artifact.path.parent / "cache", build=BuildOptions(attest=attested)
    )
    made = engine_from_artifact(trt, artifact, sizes=RANGE, info=device.info, options=options)
    return made, trt


def test_an_engine_of_a_range_is_looked_at_in_its_typical_size(artifact):
    made, trt = built(artifact)
    assert made.facts["attestation"]["layers"] == {"fp32": 1}
    drops = [line for line in trt.log if line.startswith("drop")]
    assert drops.index("drop context") < drops.index("drop engine") < drops.index("drop runtime")


def test_no_room_to_look_at_a_range_is_told(artifact):
    with pytest.raises(EngineError, match=r"pictures of 64x96.*free GPU memory"):
        built(artifact, null_context=True)
    assert not list((artifact.path.parent / "cache").glob("*.plan"))
    made, _ = built(artifact, null_context=True, attested=False)
    assert made.facts["attestation"]["layers"] == {}


def test_a_size_that_an_engine_refuses_is_told_and_its_context_is_gone_before_it(artifact):
    device = FakeDevice()
    trt = fake_tensorrt("8.6.2", device=device, refuse_shape=True)
    options = GpuOptions(cache_dir=artifact.path.parent / "cache")
    with pytest.raises(EngineError, match=r"the engine refuses left \(64, 96, 3\)") as caught:
        engine_from_artifact(trt, artifact, sizes=RANGE, info=device.info, options=options)
    assert trt.log == ["drop context"]  # the traceback still holds the others
    del caught


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"unknown_shapes": ["right"]}, "right"),
        ({"infer_fails": True}, r"all tensors \(infer_.*\)"),
    ],
)
def test_shapes_that_stay_open_are_told(artifact, behaviour, words):
    with pytest.raises(EngineError, match=f"pictures of 64x96: the shapes of {words} stay open"):
        built(artifact, **behaviour)


@pytest.mark.parametrize("change", [{"multiprocessors": 8}, {"memory_bytes": 7 << 30}])
def test_boards_of_one_name_have_engines_of_their_own(artifact, change):
    assert key_of(artifact, name="Orin") != key_of(artifact, name="Orin", **change)


def test_a_system_that_keeps_more_memory_has_the_same_engine(artifact):
    assert key_of(artifact) == key_of(artifact, memory_bytes=61 << 30)


def test_another_builder_has_engines_of_its_own(artifact, monkeypatch):
    before = key_of(artifact)
    monkeypatch.setattr(engines, "recipe", lambda: "another")
    assert key_of(artifact).difference(before.to_json()) == [
        f"the version of litestereo's builder is {recipe()}, need another"
    ]


def test_timings_that_cannot_be_read_only_cost_time(artifact, tmp_path):
    said, device = [], FakeDevice()
    options = GpuOptions(cache_dir=tmp_path / "cache", progress=said.append)

    def engine():
        trt = fake_tensorrt(device=device)
        made = engine_from_artifact(trt, artifact, sizes=SIZES, info=device.info, options=options)
        return made, [config.timing_cache.content for _, config in trt.builds]

    first, timings = engine()
    assert timings == [b""]
    (kept,) = options.cache_dir.glob("timing_*")
    assert kept.name == "timing_10.3.0_sm_87_Fake_GPU_16.cache"
    kept.unlink()
    kept.mkdir()  # nobody reads a folder, not even root
    first.path.unlink()
    said.clear()
    second, timings = engine()
    assert (second.plan, second.was_built, timings) == (first.plan, True, [b""])
    assert second.path == first.path
    told = [line for line in said if str(kept) in line]
    assert told[0] == f"earlier builds' timings cannot be read ({kept}: Is a directory): building"


def test_in_int8_an_island_beside_a_quantiser_is_not_held(tmp_path):
    chain = [  # /relu is quantised and read by /conv
        helper.make_node("Relu", ["x"], ["a"], "/relu"),
        helper.make_node("QuantizeLinear", ["a", "step"], ["a8"], "a/Quantize"),
        helper.make_node("DequantizeLinear", ["a8", "step"], ["b"], "a/Dequantize"),
        helper.make_node("Conv", ["b", "w"], ["c"], "/conv"),
        helper.make_node("InstanceNormalization", ["c", "s", "t"], ["d"], "/norm"),
        helper.make_node("Softmax", ["d"], ["e"], "/softmax"),
        helper.make_node("Mul", ["e", "levels"], ["y"], "/mean"),
    ]
    model = helper.make_model(helper.make_graph(chain, "chain", [], []))
    named = {"nodes": ["/relu", "/conv", "/norm", "/softmax", "/mean"]}

    def held(precision):
        manifest = stand_in_manifest(
            precision=precision, precision_map={"islands": {"disparity": named}}
        )
        return pinned_nodes(Artifact(tmp_path / "a.onnx", model.SerializeToString(), manifest, ""))

    assert held("fp16") == set(named["nodes"])
    assert held("int8") == {"/softmax", "/mean"}
