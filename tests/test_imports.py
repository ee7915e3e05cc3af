"""Importing the package and asking for help must stay quick and load nothing heavy."""

import resource
import subprocess
import sys
from importlib.metadata import distribution

import pytest
from stand_in import write_stand_in

HEAVY = ("torch", "onnx", "onnxruntime", "tensorrt", "pycuda", "cv2")
COMMANDS = sorted(
    entry.value for entry in distribution("litestereo").entry_points.select(group="console_scripts")
)
# What a command must not load, printed after it has left by SystemExit.
LOADED = f"""
import sys
try:
    {{code}}
except SystemExit as leaving:
    assert not leaving.code, leaving.code
print("loaded:", *(name for name in {HEAVY!r} if name in sys.modules))
"""


def last_line(code):
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()[-1], ran.stdout


def help_code(command):
    module, function = command.split(":")
    return f"from {module} import {function} as main; main(['--help'])"


def test_the_check_can_fail():
    assert last_line("import cv2")[0] == "loaded: cv2"


@pytest.mark.parametrize(
    "module",
    ["litestereo", "litestereo.cli", "litestereo.errors", "litestereo.runtime.engine"],
)
def test_importing_loads_nothing_heavy(module):
    assert last_line(f"import {module}")[0] == "loaded:"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_loads_nothing_heavy_and_ends_with_an_example(command):
    loaded, text = last_line(help_code(command))
    assert loaded == "loaded:"
    example = text.rstrip().splitlines()[-2].strip()
    assert example.startswith("stereo-"), example


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_in_half_a_second(command):
    code = help_code(command)
    seconds = []
    for _ in range(5):
        # The processor's time, which a busy machine does not stretch as it does the clock's.
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(seconds) < 0.5


def test_running_a_pair_needs_neither_torch_nor_onnx(tmp_path):
    artifact = write_stand_in(tmp_path / "stand_in.onnx")
    code = (
        "import numpy; from litestereo import StereoEngine; "
        "picture = numpy.zeros((40, 50), numpy.uint8); "
        f"StereoEngine.load({str(artifact)!r})(picture, picture)"
    )
    assert last_line(code)[0] == "loaded: onnxruntime"


def test_there_are_commands():
    assert "litestereo.cli:run_main" in COMMANDS
