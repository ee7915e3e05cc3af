"""A subject in another process: the same answers, its own times, and words when it fails."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from stand_in import expected, write_stand_in

from litestereo.benchmarks.latency import memory
from litestereo.benchmarks.latency.elsewhere import ElsewhereSubject
from litestereo.benchmarks.latency.subjects import EngineSettings, SubjectSpec, open_subject
from litestereo.errors import EngineError

HERE = EngineSettings(python=Path(sys.executable))


@pytest.fixture
def spec(tmp_path):
    return SubjectSpec.parse(f"{write_stand_in(tmp_path / 'a.onnx')}@onnxruntime-cpu")


@pytest.fixture
def subject(spec):
    made = ElsewhereSubject(spec, settings=HERE, device="cpu", threads=1)
    yield made
    made.close()


def test_it_answers_each_pair_as_the_subject_does_here(subject, rng):
    for _ in range(2):
        left, right = rng.integers(0, 256, (2, 64, 96, 3), np.uint8)
        iteration = subject(left, right)
        np.testing.assert_allclose(iteration.disparity_px, expected(left, right)[0], rtol=1e-5)
        stages = iteration.stages_ms
        parts = stages["preprocess"] + stages["inference"] + stages["postprocess"]
        assert 0 < parts <= stages["total"] < 10_000
    assert subject.info.backend == "onnxruntime-cpu"
    assert subject.info.inference_size == (64, 96)
    assert subject.info.details == {"threads": "1"}


def test_an_answer_is_not_changed_by_the_next_one(subject, rng):
    left, right, other = rng.integers(0, 256, (3, 64, 96, 3), np.uint8)
    first = subject(left, right).disparity_px
    subject(other, right)
    np.testing.assert_allclose(first, expected(left, right)[0], rtol=1e-5)


def test_its_errors_come_back_as_words(tmp_path):
    spec = SubjectSpec.parse(f"{tmp_path / 'none.onnx'}@onnxruntime-cpu")
    with pytest.raises(EngineError, match="is no such file"):
        ElsewhereSubject(spec, settings=HERE, device="cpu", threads=None)


def test_an_interpreter_that_is_not_there_is_told(spec):
    settings = EngineSettings(python=Path("/no/such/python"))
    with pytest.raises(EngineError, match="/no/such/python cannot be started"):
        ElsewhereSubject(spec, settings=settings, device="cpu", threads=None)


def test_a_process_that_dies_is_told(subject, rng):
    left, right = rng.integers(0, 256, (2, 64, 96, 3), np.uint8)
    subject(left, right)
    subject._process.kill()
    subject._process.wait()
    with pytest.raises(EngineError, match="ended"):
        subject(left, right)


def test_only_tensorrt_goes_elsewhere(spec, monkeypatch):
    here = open_subject(spec, settings=HERE)
    assert not isinstance(here, ElsewhereSubject)
    here.close()
    asked = SubjectSpec(spec.label, spec.model, "tensorrt")
    monkeypatch.setattr(ElsewhereSubject, "__init__", lambda self, spec, **_: None)
    assert isinstance(open_subject(asked, settings=HERE), ElsewhereSubject)


def test_settings_survive_the_way():
    settings = EngineSettings(Path("/a/python"), Path("/b"), ("JIT_CONVOLUTIONS",))
    assert EngineSettings.from_json(settings.to_json()) == settings
    assert EngineSettings.from_json(EngineSettings().to_json()) == EngineSettings()


def test_the_memory_is_the_other_processs(subject):
    own = memory._peak_mib(Path(f"/proc/{subject.process_id}/status"))
    assert 20 < own < 2000
