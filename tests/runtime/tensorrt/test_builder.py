"""The builder against three generations of a fake TensorRT: names, flags, pins, words."""

import time

import pytest
from fake_tensorrt import fake_tensorrt
from stand_in import stand_in_model

from litestereo.errors import EngineError, InputError, MissingDependencyError
from litestereo.runtime.tensorrt import library
from litestereo.runtime.tensorrt.builder import BuildRequest, build_plan, prepare
from litestereo.runtime.tensorrt.options import BuildOptions, GpuOptions, SizeRange
from litestereo.runtime.tensorrt.progress import Heartbeat, make_monitor

GRAPH = stand_in_model().SerializeToString()
# Name, type, types of the outputs, inputs: a typed FP16 graph as 8.6 parses it. Half precision
# shows nowhere: without strong typing every floating tensor counts as FLOAT before the build.
LAYERS = (
    ("/levels", "CAST", ("FLOAT",)),
    ("/conv", "CONVOLUTION", ("FLOAT",), ("/levels:0",)),
    ("/weights", "CONSTANT", ("FLOAT",)),
    ("(Unnamed Layer* 3) [Shuffle]", "CONVOLUTION", ("FLOAT",), ("/conv:0",)),
    ("/softmax", "SOFTMAX", ("FLOAT",), ("(Unnamed Layer* 3) [Shuffle]:0",)),
    ("/softmax_5", "CONVOLUTION", ("FLOAT",), ("/softmax:0",)),
    ("/index", "CONVOLUTION", ("INT32",)),
    ("/mean", "CONVOLUTION", ("FLOAT", "FLOAT"), ("/softmax_5:0", "/weights:0")),
    ("(Unnamed Layer* 8) [Shuffle]", "CONVOLUTION", ("FLOAT",), ("/levels:0",)),
)
ISLANDS = frozenset({"/softmax", "/mean", "/weights", "/levels", "/index"})


def request(**changes):
    known = {
        "name": "las1 fp16",
        "graph": GRAPH,
        "precision": "fp16",
        "sizes": SizeRange.fixed((64, 96)),
        "options": BuildOptions(),
    }
    return BuildRequest(**{**known, **changes})


def quiet(what="building"):
    return Heartbeat(lambda _: None, what)


@pytest.mark.parametrize(
    ("version", "flags"), [("8.6.2", 1 << 0), ("10.3.0", (1 << 0) | (1 << 1)), ("11.4.1", 1 << 0)]
)
def test_networks_are_strongly_typed_where_they_can_be(version, flags):
    trt = fake_tensorrt(version)
    prepared = prepare(trt, request())
    assert prepared.network.flags == flags
    strong = version != "8.6.2"
    assert prepared.typing == ("strong" if strong else "emulated")
    assert (trt.BuilderFlag["TF32"] in prepared.config.cleared) is True
    if strong:
        assert prepared.config.flags == set()


def test_8_6_is_held_to_the_islands_and_what_the_parser_put_around_them():
    trt = fake_tensorrt("8.6.2", network_layers=LAYERS)
    prepared = prepare(trt, request(islands=ISLANDS))
    assert prepared.config.flags == {
        trt.BuilderFlag.FP16,
        trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS,
    }
    held = {layer.name: layer for layer in prepared.network.layers if layer.precision}
    full = trt.DataType.FLOAT
    pinned = {name: layer for name, layer in held.items() if layer.precision == full}
    assert set(pinned) == {"(Unnamed Layer* 3) [Shuffle]", "/softmax", "/softmax_5", "/mean"}
    assert prepared.pinned == 4
    assert pinned["/mean"].types == {0: full, 1: full}
    assert set(held) - set(pinned) == {"/conv", "(Unnamed Layer* 8) [Shuffle]"}, "to half"
    prefer = prepare(trt, request(options=BuildOptions(constraints="prefer")))
    assert trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS in prefer.config.flags


def test_without_islands_8_6_is_held_to_nothing():
    prepared = prepare(fake_tensorrt("8.6.2", network_layers=LAYERS), request())
    assert prepared.pinned == 0


def test_an_fp32_graph_asks_8_6_for_nothing():
    prepared = prepare(fake_tensorrt("8.6.2", network_layers=LAYERS), request(precision="fp32"))
    assert (prepared.typing, prepared.pinned, prepared.config.flags) == ("fp32", 0, set())


def test_options_reach_the_config():
    trt = fake_tensorrt("8.6.2")
    options = BuildOptions(
        optimization_level=1,
        workspace_mb=512,
        tactic_sources=("JIT_CONVOLUTIONS", "NO_SUCH_SOURCE"),
        max_aux_streams=2,
        tf32=True,
        version_compatible=True,
        exclude_lean_runtime=True,
        hardware_compatibility="ampere_plus",
    )
    config = prepare(trt, request(options=options, timing_cache=b"known")).config
    assert config.builder_optimization_level == 1
    assert config.max_aux_streams == 2
    assert config.limits == {trt.MemoryPoolType.WORKSPACE: 512 << 20}
    assert config.tactic_sources == 1 << int(trt.TacticSource.JIT_CONVOLUTIONS)
    assert config.profiling_verbosity == trt.ProfilingVerbosity.DETAILED
    assert config.hardware_compatibility_level == trt.HardwareCompatibilityLevel.AMPERE_PLUS
    assert {trt.BuilderFlag.VERSION_COMPATIBLE, trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME} < config.flags
    assert config.cleared == set()
    assert config.timing_cache.content == b"known"


def test_a_stale_timing_cache_is_left_out():
    assert (
        prepare(fake_tensorrt(), request(timing_cache=b"stale")).config.timing_cache.content == b""
    )


def test_a_compatibility_that_a_version_lacks_is_said():
    options = BuildOptions(hardware_compatibility="same_compute_capability")
    with pytest.raises(EngineError, match=r"8\.6\.2 has no hardware compatibility"):
        prepare(fake_tensorrt("8.6.2"), request(options=options))


def test_sizes_become_a_profile():
    sizes = SizeRange((32, 64), (64, 96), (96, 128))
    profiles = prepare(fake_tensorrt(), request(sizes=sizes)).config.profiles
    assert profiles[0].shapes["right"] == ((32, 64, 3), (64, 96, 3), (96, 128, 3))
    fixed = fake_tensorrt(input_shape=(64, 96, 3))
    assert prepare(fixed, request()).config.profiles == []
    with pytest.raises(EngineError, match=r"fixed at 64x96 and an engine for 32x64\.\.96x128"):
        prepare(fixed, request(sizes=sizes))


def test_a_refusal_has_the_parsers_words():
    trt = fake_tensorrt(refuse_parse="Plugin not found")
    with pytest.raises(EngineError, match="parser refuses las1 fp16: node 7: Plugin not found"):
        prepare(trt, request())


def test_a_failed_build_has_the_builders_words():
    trt = fake_tensorrt(refuse_build="Could not find any implementation for node /conv")
    words = r"10\.3\.0 cannot build las1 fp16: Could not find any.*An FP32 artefact"
    with pytest.raises(EngineError, match=words):
        build_plan(trt, request(), heartbeat=quiet())
    with pytest.raises(EngineError, match="cannot make a builder here"):
        build_plan(fake_tensorrt(null_builder=True), request(), heartbeat=quiet())


def test_a_build_gives_plan_and_timings():
    built = build_plan(fake_tensorrt(), request(timing_cache=b"old"), heartbeat=quiet())
    assert built.plan == b"plan of 10.3.0"
    assert built.timing_cache == b"old+"
    assert built.typing == "strong"


def test_progress_is_told_where_there_is_a_monitor():
    heartbeat = quiet()
    build_plan(fake_tensorrt(), request(), heartbeat=heartbeat)
    assert heartbeat.phase == "Building 25%"
    assert make_monitor(fake_tensorrt("8.6.2"), heartbeat) is None


def test_a_long_build_is_heard():
    said = []
    with Heartbeat(said.append, "building x", every_s=0.02) as heartbeat:
        heartbeat.phase = "Tactic 3%"
        time.sleep(0.2)
    assert said[0] == "building x: this is done once and takes minutes"
    assert "building x: 0 s, Tactic 3%" in said
    assert said[-1] == "building x: done in 0 s"
    lines = len(said)
    time.sleep(0.05)
    assert len(said) == lines

    with pytest.raises(RuntimeError), Heartbeat(said.append, "building y", every_s=9):
        raise RuntimeError
    assert not said[-1].startswith("building y: done")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimization_level": 6}, "must be 0 to 5"),
        ({"workspace_mb": 0}, "at least 1"),
        ({"max_aux_streams": -1}, "at least 0"),
        ({"hardware_compatibility": "all"}, "must be one of none"),
        ({"constraints": "ignore"}, "must be one of obey"),
        ({"exclude_lean_runtime": True}, "only makes sense with version_compatible"),
    ],
)
def test_build_options_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        BuildOptions(**options)


def test_gpu_options_are_checked():
    with pytest.raises(InputError, match="counted from 0"):
        GpuOptions(device_index=-1)
    with pytest.raises(InputError, match="binding is 'cupy'"):
        GpuOptions(binding="cupy")
    with pytest.raises(InputError, match="must not fall"):
        SizeRange((64, 64), (32, 64), (64, 64))


def importing(monkeypatch, found):
    def import_module(name):
        assert name == "tensorrt"
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(library, "import_module", import_module)


def test_tensorrt_is_imported_after_the_driver(monkeypatch):
    def no_driver():
        raise EngineError("there is no CUDA driver here")

    importing(monkeypatch, AssertionError("TensorRT was touched"))
    with pytest.raises(EngineError, match="no CUDA driver"):
        library.import_tensorrt(open_driver=no_driver)


@pytest.mark.parametrize(
    ("found", "kind", "message"),
    [
        (ModuleNotFoundError("x", name="tensorrt"), MissingDependencyError, "system-site-packages"),
        (ImportError("libnvinfer.so.10", name="tensorrt_libs"), EngineError, "of one version"),
        (fake_tensorrt("8.5.2"), EngineError, "8.5.2; need 8.6 or later"),
    ],
)
def test_a_tensorrt_that_cannot_be_used_is_explained(monkeypatch, found, kind, message):
    importing(monkeypatch, found)
    with pytest.raises(kind, match=message):
        library.import_tensorrt(open_driver=lambda: None)


def test_a_good_tensorrt_is_returned(monkeypatch):
    trt = fake_tensorrt("10.16.2.10")
    importing(monkeypatch, trt)
    assert library.import_tensorrt(open_driver=lambda: None) is trt
    assert library.version_of(trt) == (10, 16, 2, 10)


def test_8_6_is_allowed_int8_and_asked_to_keep_the_islands_alone():
    trt = fake_tensorrt("8.6.2", network_layers=LAYERS)
    prepared = prepare(trt, request(precision="int8", islands=frozenset({"/softmax"})))
    preferred = trt.BuilderFlag.PREFER_PRECISION_CONSTRAINTS
    flags = {trt.BuilderFlag.FP16, trt.BuilderFlag.INT8, preferred}
    assert prepared.config.flags == flags
    pinned = {layer.name for layer in prepared.network.layers if layer.precision}
    assert pinned == {"(Unnamed Layer* 3) [Shuffle]", "/softmax", "/softmax_5"}
    assert prepare(fake_tensorrt("10.3.0"), request(precision="int8")).typing == "strong"
