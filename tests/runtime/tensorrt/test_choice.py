"""The rule for INT8 engines: measured in turns, kept if it pays, forced if asked."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from stand_in import stand_in_manifest, stand_in_model

from litestereo.errors import EngineError
from litestereo.runtime.manifest import InputSpec
from litestereo.runtime.tensorrt import choice as choice_module
from litestereo.runtime.tensorrt.choice import Choice, choose_engine, timed_in_turns
from litestereo.runtime.tensorrt.engines import require_readable
from litestereo.runtime.tensorrt.options import GpuOptions, SizeRange

CHOICE = Choice("a GPU", (384, 1248), 1.0, 1.3, 300, forced=False, attestation={}, apart_px=0.07)
PAIR = (np.zeros((64, 96, 3), np.uint8),) * 2


def artefact(path, precision, *, size=(64, 96), **changes):
    manifest = stand_in_manifest(precision=precision, input=InputSpec(*size), **changes)
    onnx.save(stand_in_model(size=size, manifest=manifest.to_json()), path)
    return path


class Backend:
    """Answers with a time of its own, and notes that it was closed."""

    device = "a GPU"
    attestation = "all of it"

    def __init__(self, compute_ms, *, answer_px=20.0):
        self.compute_ms, self.answer_px, self.closed = compute_ms, answer_px, False

    def infer(self, left, right):
        assert left.shape == (64, 96, 3)
        return np.full((64, 96), self.answer_px, np.float32), np.ones((64, 96), np.float32)

    def device_times(self):
        return self.compute_ms and SimpleNamespace(compute_ms=self.compute_ms)

    def close(self):
        self.closed = True


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """Return a function that chooses between two artefacts on a GPU with these times."""

    def choose(int8_ms, fp16_ms, *, refused="", apart_px=0.07, **options):
        plan = tmp_path / "int8.plan"
        plan.write_bytes(b"plan")
        plan.with_suffix(".json").write_text("{}")
        backends = {
            "int8": Backend(int8_ms, answer_px=20.0 + apart_px),
            "fp16": Backend(fp16_ms),
        }

        def build(path, options):
            if refused:
                del backends["int8"]
                raise EngineError(refused)
            return SimpleNamespace(path=plan)

        monkeypatch.setattr(choice_module, "build_ahead", build)
        monkeypatch.setattr(choice_module, "load", lambda path, options: backends[path.stem])
        said = []
        paths = [artefact(tmp_path / f"{kind}.onnx", kind) for kind in ("int8", "fp16")]
        gpu = GpuOptions(progress=said.append)
        found = choose_engine(*paths, pair=PAIR, options=gpu, **options)
        assert all(backend.closed for backend in backends.values())
        return found, said, plan

    return choose


def test_an_engine_that_does_not_load_closes_the_other(tmp_path, monkeypatch):
    first = Backend(1.0)
    loads = iter([first])

    def load(path, options):
        for backend in loads:
            return backend
        raise EngineError("the GPU's memory is full")

    monkeypatch.setattr(choice_module, "load", load)
    monkeypatch.setattr(choice_module, "build_ahead", lambda path, options: SimpleNamespace())
    paths = [artefact(tmp_path / f"{kind}.onnx", kind) for kind in ("int8", "fp16")]
    with pytest.raises(EngineError, match="memory is full"):
        choose_engine(*paths, pair=PAIR, options=GpuOptions())
    assert first.closed


def test_an_engine_that_pays_is_kept(gpu):
    found, said, plan = gpu(1.0, 1.3)
    assert found.kept == "int8"
    assert found.gain == pytest.approx(1.3)
    assert plan.exists()
    assert "INT8 1.000 ms, FP16 1.300 ms, 1.30 times as fast (300 calls in turns)" in said[0]


@pytest.mark.parametrize("fp16_ms", [0.7, 1.0, 1.04])
def test_an_engine_that_does_not_pay_is_removed_and_it_is_said(gpu, fp16_ms):
    found, said, plan = gpu(1.0, fp16_ms)
    assert found.kept == "fp16"
    assert not plan.exists()
    assert not plan.with_suffix(".json").exists()
    assert "FP16 is kept (--force keeps INT8)" in said[0]


@pytest.mark.parametrize("apart_px", [4.05, -0.31, float("nan")])
def test_a_fast_engine_with_other_answers_is_removed(gpu, apart_px):
    found, said, plan = gpu(1.0, 2.0, apart_px=apart_px)
    assert (found.kept, found.pays, found.agrees) == ("fp16", True, False)
    assert not plan.exists()
    json.dumps(found.to_json(), allow_nan=False)  # it goes into the manifest
    assert "at most 0.3 px is allowed, so FP16 is kept" in said[0]


def test_all_that_is_wrong_with_it_is_said(gpu):
    _, said, _ = gpu(2.0, 1.0, apart_px=4.05)
    assert "0.50 times as fast" in said[0]
    assert "disparity 4.050 px apart" in said[0]
    assert "at most 0.3 px is allowed and at least 1.05 times is asked for" in said[0]


def test_a_pair_of_another_size_is_refused(tmp_path):
    paths = [artefact(tmp_path / f"{kind}.onnx", kind) for kind in ("int8", "fp16")]
    pair = (np.zeros((64, 128, 3), np.uint8),) * 2
    with pytest.raises(EngineError, match=r"need \(64, 96, 3\)"):
        choose_engine(*paths, pair=pair, options=GpuOptions())


def test_force_keeps_it_and_says_so(gpu):
    found, said, plan = gpu(1.0, 0.9, force=True)
    assert (found.kept, found.pays, found.forced) == ("int8", False, True)
    assert plan.exists()
    assert "kept by force" in said[0]
    assert found.to_json()["gain"] == 0.9


def test_where_tensorrt_refuses_int8_fp16_is_kept_in_its_words(gpu):
    found, said, _ = gpu(1.0, 1.3, refused="cannot build las1 int8: no kernel")
    assert (found.kept, found.pays, found.int8_ms, found.fp16_ms) == ("fp16", False, None, 1.3)
    assert said[0].endswith("so FP16 is kept: cannot build las1 int8: no kernel")
    assert found.to_json()["refused"] == "cannot build las1 int8: no kernel"


def test_force_takes_no_refusal(gpu):
    with pytest.raises(EngineError, match="no kernel"):
        gpu(1.0, 1.3, refused="no kernel", force=True)


def test_a_gpu_without_a_clock_cannot_choose(gpu):
    with pytest.raises(EngineError, match="no times"):
        gpu(None, 1.0)


def test_the_bound_is_five_percent():
    assert dataclasses.replace(CHOICE, fp16_ms=1.05).pays
    assert not dataclasses.replace(CHOICE, fp16_ms=1.049).pays


def test_turns_hit_both_alike():
    order = []
    calls = {name: lambda name=name: float(order.append(name) or len(order)) for name in "ab"}
    times = timed_in_turns(calls, rounds=6, block=3)
    assert {name: len(found) for name, found in times.items()} == {"a": 18, "b": 18}
    blocks = "".join(order[60:][::5])
    assert {blocks[i : i + 2] for i in range(0, 12, 2)} == {"ab", "ba"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp32"}, "need int8 and fp16"),
        ({"precision": "fp16", "weights_sha256": "1" * 64}, "same weights"),
        ({"precision": "fp16", "size": (64, 128)}, "same --height"),
    ],
)
def test_strangers_are_not_compared(changes, words, tmp_path):
    int8 = artefact(tmp_path / "int8.onnx", "int8")
    other = artefact(tmp_path / "other.onnx", **changes)
    with pytest.raises(EngineError, match=words):
        choose_engine(int8, other, pair=PAIR, options=GpuOptions())


def test_8_6_refuses_the_newer_opset_before_it_parses():
    artifact = SimpleNamespace(path="a.onnx", manifest=SimpleNamespace(opset=19))
    with pytest.raises(EngineError, match="without --fp16"):
        require_readable(SimpleNamespace(__version__="8.6.2"), artifact)
    require_readable(SimpleNamespace(__version__="10.3.0"), artifact)


def test_dynamic_artefacts_are_compared_at_the_size_that_is_asked_for(tmp_path):
    paths = []
    for kind in ("int8", "fp16"):
        path = tmp_path / f"{kind}.onnx"
        onnx.save(stand_in_model(manifest=stand_in_manifest(precision=kind).to_json()), path)
        paths.append(path)
    common = choice_module._common_size
    assert common(*paths, SizeRange.fixed((64, 96))) == (64, 96)
    with pytest.raises(EngineError, match="same --height"):
        common(*paths, None)
    with pytest.raises(EngineError, match="same --height"):
        common(*paths, SizeRange((32, 32), (64, 64), (64, 96)))
