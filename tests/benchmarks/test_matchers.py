"""Every backend gives left-image disparity of the picture's own size."""

import numpy as np
import pytest
import torch
import trees
from stand_in import expected, write_stand_in

from litestereo import models
from litestereo.benchmarks.matchers import (
    BACKENDS,
    SgbmMatcher,
    SgbmOptions,
    TorchMatcher,
    open_matcher,
)
from litestereo.errors import InputError, LiteStereoError
from litestereo.runtime.backends import open_backend
from litestereo.runtime.tensorrt.options import GpuOptions


class Ramp(torch.nn.Module):
    """Answers with the left picture's red channel, sure of it where the pictures agree."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(0.25))

    def forward(self, left, right):
        assert not self.training
        assert left.dtype == torch.float32
        assert left.shape[2] % 32 == left.shape[3] % 32 == 0
        same = (left == right).float()
        return self.gain * left[:, :1], same[:, :1]


@pytest.fixture
def pair():
    return trees.views()  # 37x64: needs padding in height only


def test_torch_matcher_pads_crops_and_leaves_the_mode_alone(pair):
    network = Ramp().train()
    matcher = TorchMatcher(network, name="ramp")
    match = matcher(*pair)
    np.testing.assert_array_equal(match.disparity_px, pair[0][..., 0] * np.float32(0.25))
    np.testing.assert_array_equal(match.confidence, pair[0][..., 0] == pair[1][..., 0])
    assert match.disparity_px.dtype == match.confidence.dtype == np.float32
    assert network.training
    assert network.gain.grad is None
    assert matcher.name == "ramp (torch, cpu, float32)"


def test_torch_matcher_restores_the_mode_when_the_network_fails(pair):
    class Failing(Ramp):
        def forward(self, left, right):
            raise RuntimeError("no memory")

    network = Failing().train()
    with pytest.raises(RuntimeError, match="no memory"):
        TorchMatcher(network)(*pair)
    assert network.training


def test_open_torch_loads_weights(tmp_path, pair):
    torch.manual_seed(0)
    network = models.create("las2_s")
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    with open_matcher("torch", model="las2_s", weights=path) as matcher:
        match = matcher(*pair)
    assert match.disparity_px.shape == match.confidence.shape == trees.SIZE
    np.testing.assert_array_equal(match.disparity_px, TorchMatcher(network)(*pair).disparity_px)
    assert matcher.name == "las2_s (torch, cpu, float32)"


def test_open_onnxruntime_runs_the_artefact(tmp_path, pair):
    artefact = write_stand_in(tmp_path / "stand_in.onnx")
    with open_matcher("onnxruntime-cpu", weights=artefact) as matcher:
        match = matcher(*pair)
    disparity, confidence = expected(*pair)
    np.testing.assert_allclose(match.disparity_px, disparity, atol=1e-4)
    np.testing.assert_allclose(match.confidence, confidence, atol=1e-5)
    assert matcher.name == "stand-in (onnxruntime-cpu, fp32)"
    told = "is of stand-in, and las1 was asked for"
    with (
        pytest.raises(InputError, match=told),
        open_matcher("onnxruntime-cpu", model="las1", weights=artefact),
    ):
        pass
    with open_matcher("onnxruntime-cpu", weights=artefact, scale=2.0) as matcher:
        scaled = matcher(*pair)
    assert matcher.name == "stand-in (onnxruntime-cpu, fp32, scale 2)"
    assert scaled.disparity_px.shape == trees.SIZE
    assert not np.array_equal(scaled.disparity_px, match.disparity_px)


def test_sgbm_finds_the_shift_up_to_the_left_border():
    left, right = trees.views((64, 160))
    match = SgbmMatcher()(left, right, largest_px=trees.DISPARITY_PX)
    found = match.disparity_px[np.isfinite(match.disparity_px)]
    assert match.confidence is None
    assert match.disparity_px.dtype == np.float32
    assert np.median(found) == trees.DISPARITY_PX
    assert np.isfinite(match.disparity_px[:, 12:]).mean() > 0.9
    assert np.isfinite(match.disparity_px[:, :12]).any()  # unpadded, StereoSGBM leaves it blank


@pytest.mark.parametrize("shift", [14, 40])
def test_sgbm_searches_what_the_scene_needs(shift):
    left, right = trees.views((64, 200), shift=shift)
    near = SgbmMatcher(SgbmOptions(margin_px=0))(left, right, largest_px=16)
    far = SgbmMatcher()(left, right, largest_px=float(shift))
    unknown = SgbmMatcher()(left, right)
    assert np.nanmax(near.disparity_px) <= 16
    assert np.nanmedian(far.disparity_px) == np.nanmedian(unknown.disparity_px) == shift


def test_sgbm_calls_no_answer_nan():
    flat = np.full((40, 80, 3), 90, np.uint8)
    disparity = SgbmMatcher()(flat, flat, largest_px=8.0).disparity_px
    assert np.isnan(disparity).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "magic"}, "backend 'magic' is unknown; choose one of torch"),
        ({"backend": "sgbm", "weights": "x.pth"}, "sgbm has no weights"),
        ({"backend": "sgbm", "device": "cuda"}, "sgbm takes no --device"),
        ({"backend": "torch", "model": "las9"}, "las9"),
        ({"backend": "sgbm", "scale": 1.5}, "sgbm takes no --scale"),
        ({"backend": "torch", "device": "abacus"}, "cannot use device 'abacus'"),
        ({"backend": "onnxruntime-cpu", "model": "las9"}, "'las9' is neither a bundled model"),
    ],
)
def test_wrong_requests(arguments, message):
    with pytest.raises(LiteStereoError, match=message), open_matcher(**arguments):
        pytest.fail("it opened")


def test_backends_are_what_open_matcher_takes():
    assert BACKENDS == ("torch", "onnxruntime-cpu", "onnxruntime-cuda", "tensorrt", "sgbm")
    with pytest.raises(InputError, match=", ".join(BACKENDS)), open_matcher("none"):
        pytest.fail("it opened")


def test_gpu_backends_get_the_artefact_and_the_gpu_options(tmp_path, monkeypatch, pair):
    artefact, gpu = write_stand_in(tmp_path / "stand_in.onnx"), GpuOptions(cache_dir=tmp_path)
    asked = []

    def on_the_cpu(name, path, *, options):
        asked.append((name, path, options.gpu))
        return open_backend("onnxruntime-cpu", path, options=options)

    monkeypatch.setattr("litestereo.runtime.engine.open_backend", on_the_cpu)
    with open_matcher("tensorrt", weights=artefact, gpu=gpu) as matcher:
        assert matcher(*pair).disparity_px.shape == trees.SIZE
    assert asked == [("tensorrt", artefact, gpu)]
