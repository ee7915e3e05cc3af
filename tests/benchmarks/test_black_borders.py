"""What black borders cost."""

import json
import subprocess
import sys
from pathlib import Path

import trees

ROOT = Path(__file__).parents[2]


def test_borders_cost_something_in_what_they_do_not_hide(tmp_path):
    data, output = trees.middlebury2003(tmp_path / "data"), tmp_path / "borders.json"
    command = [sys.executable, ROOT / "benchmarks/black_borders.py", data, "--model", "las2_m"]
    subprocess.run([*command, "-o", output], check=True, timeout=120)
    (model,) = json.loads(output.read_text())["models"]
    assert "rendered pairs" in model["weights"]
    ((_, figures),) = model["families"].items()
    assert figures["pairs"] == len(model["scenes"]) == 1
    assert 0 <= figures["bad_2"] < figures["bordered"] < 60
