"""How far both views of pairs without ground truth agree."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from litestereo.assets import demo_pair

ROOT = Path(__file__).parents[2]


def test_the_bundled_weights_agree_with_themselves_on_the_demo_pair(tmp_path):
    folder = tmp_path / "rig"
    folder.mkdir()
    for path, name in zip(demo_pair(), ("left.png", "right.png"), strict=True):
        shutil.copy(path, folder / name)
    output = tmp_path / "agreement.json"
    command = [sys.executable, ROOT / "benchmarks/agreement.py", folder, "--model", "las1"]
    subprocess.run([*command, "-o", output], check=True, timeout=120)
    (model,) = json.loads(output.read_text())["models"]
    assert "rendered pairs" in model["weights"]
    figures = model["sets"]["rig"]
    assert figures["pairs"] == 1
    assert 60 < figures["consistent"] < 100
    assert 0 < figures["photometric"] < 60
