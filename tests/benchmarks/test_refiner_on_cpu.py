"""Training a refiner alone from pairs that are kept."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from litestereo.assets import bundled_artifact
from litestereo.models import create, load_weights

SCRIPT = Path(__file__).parents[2] / "benchmarks/refiner_on_cpu.py"
PAIRS, HELD_OUT = 22, 20


@pytest.fixture
def pool(tmp_path):
    """Return a file as `render` writes it: a texture 8 px apart."""
    torch.manual_seed(0)
    wide = (torch.rand(PAIRS, 3, 256, 520) * 255).byte()
    content = {
        "left": wide[..., :512].contiguous(),
        "right": wide[..., 8:].contiguous(),
        "truth": torch.full((PAIRS, 1, 256, 512), 8.0).half(),
    }
    torch.save(content, tmp_path / "pool.pt")
    return tmp_path / "pool.pt"


@pytest.mark.parametrize("new", [False, True])
def test_it_trains_the_refiner_and_nothing_else(tmp_path, pool, new):
    output = tmp_path / "las1.safetensors"
    command = [
        sys.executable,
        SCRIPT,
        "train",
        pool,
        "--model",
        "las1",
        "--steps",
        "12",
        "-o",
        output,
        *(["--new", "--worse", "las1", "--edge-weight", "3"] if new else []),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    record = json.loads(output.with_suffix(".json").read_text())
    assert record["pairs"] == PAIRS - HELD_OUT
    assert record["crops"] == 12 * 8
    assert record["held_out"]["pairs"] == HELD_OUT
    assert 0 < record["held_out"]["given"]["epe"] < 1
    assert record["held_out"]["refined"].keys() == record["held_out"]["given"].keys()
    assert record["options"]["new"] == new
    assert record["options"]["worse"] == (["las1"] if new else [])
    assert [line["step"] for line in record["log"]] == [12]
    trained, bundled = create("las1"), create("las1")
    load_weights(trained, output)
    load_weights(bundled, bundled_artifact("las1"))
    learnt = [n.refiner.conv2.weight.detach() for n in (trained, bundled)]
    assert learnt[0].abs().max() > 0  # where a new one begins
    assert (torch.linalg.norm(learnt[0] - learnt[1]) > torch.linalg.norm(learnt[1]) / 2) == new
    bundled.refiner = None
    for name, value in bundled.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(trained.state_dict()[name], value), name
