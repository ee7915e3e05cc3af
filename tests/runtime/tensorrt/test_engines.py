"""From an artefact to an engine: what else lies in its folder, and what tells engines apart."""

import pytest
from fake_cuda import FakeDevice
from fake_tensorrt import fake_tensorrt
from stand_in import write_stand_in

from litestereo.runtime.tensorrt.artifact import read_artifact
from litestereo.runtime.tensorrt.engines import engine_from_artifact
from litestereo.runtime.tensorrt.options import GpuOptions, SizeRange

SIZES = SizeRange.fixed((64, 96))


@pytest.fixture
def artifact(tmp_path):
    return read_artifact(write_stand_in(tmp_path / "a.onnx"))


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
    kept.unlink()
    kept.mkdir()  # nobody reads a folder, not even root
    first.path.unlink()
    said.clear()
    second, timings = engine()
    assert (second.plan, second.was_built, timings) == (first.plan, True, [b""])
    assert second.path == first.path
    told = [line for line in said if str(kept) in line]
    assert told[0] == f"earlier builds' timings cannot be read ({kept}: Is a directory): building"
