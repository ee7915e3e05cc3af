"""What black borders cost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "litestereo/runtime/demo"
TRUTH = ROOT / "tests/data/demo_disparity.png"


def test_borders_cost_something_in_what_they_do_not_hide(tmp_path):
    scene, output = tmp_path / "data/scene", tmp_path / "borders.json"
    scene.mkdir(parents=True)
    for path in (DEMO / "left.png", DEMO / "right.png", TRUTH):
        shutil.copy(path, scene)
    files = {"left": "left.png", "right": "right.png", "gt": TRUTH.name}
    meta = {"set": "rig", "files": files, "gt_encoding": {"kind": "png", "scale": 256}}
    (scene / "meta.json").write_text(json.dumps(meta))
    script = ROOT / "benchmarks/black_borders.py"
    command = [sys.executable, script, tmp_path / "data", "--model", "las2_m", "-o", output]
    subprocess.run(command, check=True, timeout=120)
    (model,) = json.loads(output.read_text())["models"]
    assert "rendered pairs" in model["weights"]
    ((_, figures),) = model["families"].items()
    assert figures["pairs"] == len(model["scenes"]) == 1
    assert 0 < figures["bad_2"] < figures["bordered"] < 10


def test_a_broken_scene_is_named_and_nothing_is_measured(tmp_path):
    scene = tmp_path / "data/scene"
    scene.mkdir(parents=True)
    (scene / "meta.json").write_text('{"files": {"left": "left.png"}}')
    script, output = ROOT / "benchmarks/black_borders.py", tmp_path / "borders.json"
    command = [sys.executable, script, tmp_path / "data", "--model", "las2_m", "-o", output]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert str(scene) in run.stderr
    assert not output.exists()
