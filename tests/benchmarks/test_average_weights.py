"""The mean of several checkpoints."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from litestereo.assets import named_file
from litestereo.models import create, load_weights, save_weights
from litestereo.models.refiner import Refiner

SCRIPT = Path(__file__).parents[2] / "benchmarks/average_weights.py"


@pytest.fixture
def checkpoints(tmp_path):
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        save_weights(create("las2_s"), path)
    return paths


def averaged(paths, *more):
    output = paths[0].parent / "mean.safetensors"
    command = [sys.executable, SCRIPT, *paths, "--model", "las2_s", "-o", output, *more]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return ran, output


@pytest.mark.parametrize(("more", "share"), [((), 0.5), (("--share", "0.3", "0.7"), 0.7)])
def test_each_weight_is_averaged_by_its_share(checkpoints, more, share):
    ran, output = averaged(checkpoints, *more)
    assert ran.returncode == 0, ran.stderr
    first, second, mean = (create("las2_s") for _ in range(3))
    for network, path in zip((first, second, mean), (*checkpoints, output), strict=True):
        load_weights(network, path)
    for name, values in mean.state_dict().items():
        a, b = first.state_dict()[name].float(), second.state_dict()[name].float()
        torch.testing.assert_close(values.float(), torch.lerp(a, b, share), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        (("--share", "0.5"), "2 weights have 1 shares"),
        (("--share", "3", "7"), "[3.0, 7.0] have to be 0 to 1"),
        (("--share", "nan", "nan"), "have to be 0 to 1"),
        (("--model", "las1"), "does not fit the model"),
        (("-o", "a.safetensors"), "is one of the weights"),
        (("-o", "mean.onnx"), "has to end in .safetensors"),
        (("--refiner", "a.safetensors"), "has no refiner"),
    ],
)
def test_what_cannot_be_averaged_is_told(checkpoints, monkeypatch, more, problem):
    monkeypatch.chdir(checkpoints[0].parent)
    before = checkpoints[0].read_bytes()
    ran, output = averaged(checkpoints, *more)
    assert ran.returncode == 2
    assert problem in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not output.exists()
    assert checkpoints[0].read_bytes() == before


def with_refiner(path):
    """Give the checkpoint a refiner; return one of its weights."""
    network = create("las2_s")
    network.refiner = Refiner()
    save_weights(network, path)
    return network.refiner.conv1.weight.detach()


def test_refiners_are_averaged(checkpoints):
    refiners = [with_refiner(path) for path in checkpoints]
    ran, output = averaged(checkpoints)
    assert ran.returncode == 0, ran.stderr
    mean = create("las2_s")
    load_weights(mean, output)
    torch.testing.assert_close(mean.refiner.conv1.weight, sum(refiners) / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("given", ["b.safetensors", "las2_s=b.safetensors", "las1"])
def test_a_refiner_may_come_from_elsewhere(checkpoints, monkeypatch, given):
    monkeypatch.chdir(checkpoints[0].parent)
    wanted = with_refiner(checkpoints[1])
    if given == "las1":
        bundled = create("las1")
        load_weights(bundled, named_file(Path("las1")))
        wanted = bundled.refiner.conv1.weight.detach()
    ran, output = averaged(checkpoints, "--refiner", given)
    assert ran.returncode == 0, ran.stderr
    mean = create("las2_s")
    load_weights(mean, output)
    torch.testing.assert_close(mean.refiner.conv1.weight, wanted, rtol=1e-3, atol=1e-4)


def test_a_refiner_is_not_averaged_with_none(checkpoints):
    with_refiner(checkpoints[1])
    ran, output = averaged(checkpoints)
    assert ran.returncode == 2
    assert "has a refiner" in ran.stderr
    assert not output.exists()
