"""What would only fail at the end of a command's work is found before it begins."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refused
from stand_in import write_stand_in

from litestereo.cli import bench_main, calibrate_main, eval_main, export_main, run_main, train_main
from litestereo.errors import EngineError, InputError
from litestereo.runtime.cuda import driver
from litestereo.runtime.files import require_writable
from litestereo.runtime.tensorrt import library
from litestereo.runtime.tensorrt.plugin.__main__ import main as plugin_main


def test_a_place_is_looked_at_without_making_it(tmp_path):
    (tmp_path / "file").write_text("")
    require_writable(tmp_path / "new" / "deep", folder=True)
    require_writable(tmp_path / "new" / "a.json")
    require_writable(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(InputError, match=r"cannot write .*it is a folder; name a file"):
        require_writable(tmp_path)
    for bad, folder in ((tmp_path / "file", True), (tmp_path / "file" / "a.json", False)):
        with pytest.raises(InputError, match=r"file is no folder; choose another place with -o"):
            require_writable(bad, folder=folder)
    with pytest.raises(InputError, match="may not be written"):
        require_writable(Path("/proc/self/a.json"))


@pytest.mark.parametrize(
    ("main", "arguments", "output"),
    [
        (run_main, ["--demo", "--model", "{model}"], "out"),
        (run_main, ["--demo", "--model", "{model}"], "one.png"),
        (run_main, ["--folder", "{tmp}", "--model", "{model}"], "out"),
        (bench_main, ["sgbm"], "bench.json"),
        (eval_main, ["{tmp}", "--backend", "sgbm"], "out"),
        (export_main, [], "las1.onnx"),
        (train_main, [], "run"),
        (calibrate_main, ["{tmp}"], "set"),
    ],
)
def test_a_place_that_cannot_be_written_is_found_first(capsys, tmp_path, main, arguments, output):
    (tmp_path / "file").write_text("")
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.png").touch()
    (tmp_path / "meta.json").write_text('{"files": {}}')
    names = {"tmp": tmp_path, "model": write_stand_in(tmp_path / "m.onnx")}
    given = [word.format(**names) for word in arguments]
    line = refused(capsys, main, *given, "-o", tmp_path / "file" / output)
    assert "file is no folder; choose another place with -o" in line


@pytest.fixture
def no_gpu(monkeypatch):
    def absent(*_):
        raise OSError("no such library")

    monkeypatch.setattr(driver.ctypes, "CDLL", absent)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--height", "64", "--width", "128", "--engine"],
        ["--height", "64", "--width", "128", "--engine", "--int8", "--calibration", "."],
    ],
)
@pytest.mark.usefixtures("no_gpu")
def test_an_engine_without_a_gpu_is_refused_before_the_export(
    capsys, tmp_path, monkeypatch, arguments
):
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, export_main, *arguments)
    assert "there is no CUDA driver here" in line
    assert "--backend" not in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_gpu")
def test_the_plugin_without_a_gpu_gives_no_advice_that_it_does_not_take(capsys, tmp_path):
    assert "--backend" not in refused(capsys, plugin_main, tmp_path)


def test_a_missing_package_for_gpu_memory_is_found_too(monkeypatch):
    def missing():
        raise EngineError("no pycuda")

    monkeypatch.setattr(library, "import_tensorrt", lambda: None)
    monkeypatch.setattr(library, "choose_binding", missing)
    with pytest.raises(EngineError, match="no pycuda"):
        library.require_tensorrt()


def test_the_plugin_prints_its_usage(capsys):
    assert plugin_main(["--help"]) == 0
    assert "litestereo.runtime.tensorrt.plugin [ENGINE_CACHE]" in capsys.readouterr().out
    assert plugin_main(["--fast"]) == 2
    assert "[ENGINE_CACHE]" in capsys.readouterr().err


def test_the_benchmarks_of_a_gpu_need_one_before_they_export(tmp_path):
    """With an interpreter in which there is no driver's library to load."""
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c 'import ctypes, sys\n"
        'def absent(*_): raise OSError("no such library")\n'
        "ctypes.CDLL = absent\nexec(sys.stdin.read())'\n"
    )
    python.chmod(0o755)
    script = Path(__file__).parents[1] / "benchmarks/gpu.sh"
    ran = subprocess.run(
        ["bash", script, tmp_path / "out"],
        env={**os.environ, "PYTHON": str(python)},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert line.startswith("gpu.sh: error: there is no CUDA driver here")
    assert not (tmp_path / "out").exists()
