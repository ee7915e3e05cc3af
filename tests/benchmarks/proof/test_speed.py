"""The turns of the speed step, on backends that only tell times, and its parts of the network."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "benchmarks/proof"))


@pytest.fixture
def speed(monkeypatch, tmp_path):
    monkeypatch.setenv("PROOF_WORK", str(tmp_path))
    module = importlib.import_module("speed")
    monkeypatch.setattr(module, "ROUNDS", 3)
    return module


class Backend:
    device = "fake"

    def __init__(self, compute_ms):
        self.compute_ms, self.pairs, self.closed = compute_ms, [], False

    def infer(self, left, right):
        assert left.shape == right.shape
        self.pairs.append(left.shape)
        return np.zeros(left.shape[:2]), np.zeros(left.shape[:2])

    def device_times(self):
        return SimpleNamespace(compute_ms=self.compute_ms)

    def close(self):
        self.closed = True


def test_engines_take_turns_and_are_told_by_the_first(speed):
    backends = {"a@64x96": Backend(2.0), "max_aux_streams=2 a@96x128": Backend(3.0)}
    found = speed.timed_in_turns(backends)
    first, second = found.values()
    assert (first["of_first"], second["of_first"]) == (1.0, 1.5)
    assert second["gpu"]["p50_ms"] == 3.0
    assert first["gpu"]["samples"] == 3 * (20 - 4)
    assert [backend.pairs[0] for backend in backends.values()] == [(64, 96, 3), (96, 128, 3)]
    assert all(backend.closed for backend in backends.values())


def test_several_engines_run_at_once(speed, monkeypatch):
    opened = []

    def open_one(engine):
        opened.append(Backend(1.0))
        return opened[-1]

    monkeypatch.setattr(speed, "opened", open_one)
    monkeypatch.setattr(speed, "SECONDS", 0.05)
    found = speed.engines("a@64x96", "2")
    assert len(opened) == 1 + 2
    assert all(one["pairs_per_s"] > 0 for one in found.values())


@pytest.mark.parametrize(
    ("layer", "part"),
    [
        ("/model/cost_agg_2d/conv0/conv0.1/Conv + /model/.../Add", "cost_agg_2d/conv0"),
        ("PWN(/model/fnet/block1/block1.0/Clip)", "fnet"),
        ("/model/fnet/conv_stem/Conv_output_0 + /model/fnet/Clip", "fnet"),
        ("/model/cost_stem_3d/cost_stem_3d.0/conv/Conv_output_0", "cost_stem_3d"),
        ("/model/MatMul", "between the parts"),
        ("Reformatting CopyNode for Input Tensor 0", "between the parts"),
    ],
)
def test_layers_belong_to_parts(speed, layer, part):
    assert speed.part_of(layer) == part


def test_floors_come_from_the_committed_count(speed):
    floors_ms = speed._floors_ms(ROOT / "benchmarks/results/roofline-las1.json", (384, 1248))
    assert {"fnet", "cost_stem_3d", "cost_agg_2d/conv0", "between the parts"} <= floors_ms.keys()
    assert 0.2 < sum(floors_ms.values()) < 1
    assert speed._floors_ms(ROOT / "benchmarks/results/roofline-las1.json", (64, 96)) == {}


def test_values_of_build_options_are_read(speed):
    assert speed._value("2") == 2
    assert speed._value("true") is True
    assert speed._value("CUDNN,CUBLAS") == ("CUDNN", "CUBLAS")
