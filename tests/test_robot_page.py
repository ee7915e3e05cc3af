"""What docs/robot.md shows, works."""

import re
import shlex
from importlib.metadata import distribution
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_in import write_raw_stand_in, write_stand_in

from litestereo.cli import doctor_main, plan_main, run_main
from litestereo.ros.parameters import DEFAULTS
from litestereo.runtime.engine import StereoEngine
from litestereo.runtime.geometry import Calibration, Eye, Validity
from litestereo.runtime.stream import RepeatedPair

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/robot.md").read_text()
SIZE = (480, 640)


@pytest.fixture
def robot(tmp_path, monkeypatch):
    """A folder with a pair and its calibration, a stand-in for the model, and two cameras."""
    model = write_stand_in(tmp_path / "stand_in.onnx", gain=0.2)
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    wave = (90 + 40 * np.sin(columns / 3.1 + rows / 17) + 30 * np.sin(rows / 2.3)).astype(np.uint8)
    picture = np.repeat(wave[..., None], 3, axis=2)
    for side in ("left", "right"):
        cv2.imwrite(str(tmp_path / f"{side}.png"), picture)
    (tmp_path / "stereo.yaml").write_text("520 0 319.5 0 520 239.5 0 0 1\n0.12\n")
    eye = Eye(520.0, 520.0, 319.5, 239.5)
    rig = Calibration(eye, eye, 0.12, size=SIZE, rectified=False)
    models = {"las1": model, "las1_rig_480x640_fp16.onnx": tmp_path / "rig.onnx"}
    write_raw_stand_in(tmp_path / "rig.onnx", rig, size=SIZE, gain=0.2)
    load = StereoEngine.load.__func__
    monkeypatch.setattr(
        StereoEngine, "load", classmethod(lambda cls, name, **kw: load(cls, models[name], **kw))
    )
    monkeypatch.setattr(
        "litestereo.runtime.stream.cameras",
        lambda *names: RepeatedPair(picture, picture, rate_hz=60, frames=4),
    )
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL))
def test_python_runs(code, robot, capsys):
    exec(compile(code, "robot.md", "exec"), {})
    out = capsys.readouterr().out
    if "print(" in code:
        assert "(480, 640)" in out


def command(name):
    found = re.search(rf"^{name} (.*)$", PAGE, flags=re.MULTILINE)
    return shlex.split(found[1])


def test_commands_run(robot, capsys):
    for main, name in ((plan_main, "stereo-plan"), (run_main, "stereo-run left.png")):
        extra = ["left.png", "--allow-swapped"] if main is run_main else []
        with pytest.raises(SystemExit) as leaving:
            main([*extra, *command(name)])
        assert not leaving.value.code, name
    with pytest.raises(SystemExit) as leaving:
        doctor_main([*command("stereo-doctor"), "--pair-only"])
    # The picture is one for both eyes, which the doctor finds.
    assert leaving.value.code == 1
    assert "same picture" in capsys.readouterr().out
    written = {re.sub("^left", "*", path.name) for path in Path("out").iterdir()}
    named = set(re.findall(r"^\| `(\*_[\w.]+)`", PAGE, flags=re.MULTILINE))
    assert named <= written


def test_options_and_commands_exist():
    scripts = {e.name for e in distribution("litestereo").entry_points}
    assert set(re.findall(r"\bstereo-[a-z]+", PAGE)) - scripts == set()
    source = "".join(path.read_text() for path in (ROOT / "litestereo/commands").glob("*.py"))
    known = {f"--{name.replace('_', '-')}" for name in re.findall(r"^    (\w+): ", source, re.M)}
    others = {"--directory", "--minutes", "--once", "--ros-args", "--system-site-packages"}
    assert set(re.findall(r"(?<!\w)--[a-z][a-z0-9-]+", PAGE)) - known - others == set()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def test_the_numbers_of_validity_are_these():
    text = re.search(r"8-bit, (.*?) \|", PAGE)[1]
    assert [int(part.split()[0]) for part in text.split(", ")] == [code.value for code in Validity]


def test_all_parameters_of_the_node_are_listed_with_their_defaults():
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.*?) \|", PAGE, flags=re.MULTILINE)
    found = {}
    for names, defaults in rows:
        keys = re.findall(r"`(\w+)`", names)
        values = [value.strip("`") for value in defaults.split(", ")]
        if len(keys) == len(values) and set(keys) <= set(DEFAULTS):
            found.update(zip(keys, values, strict=True))
    assert found == {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in DEFAULTS.items()
    }
