"""A missing package is said first, in one line that names the extra, not by a traceback."""

import runpy
import sys
from pathlib import Path

import pytest
from refusals import refused

from litestereo.cli import bench_main, export_main, train_main
from litestereo.errors import MissingDependencyError
from litestereo.packages import require_packages

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


def test_what_is_there_is_not_missed():
    require_packages("json", "litestereo", purpose="this", extra="export")
    with pytest.raises(MissingDependencyError, match=r"nowhere_at_all is not.*\[export\]"):
        require_packages("json", "nowhere_at_all", purpose="this", extra="export")


@pytest.mark.parametrize(
    ("package", "main", "arguments", "extra"),
    [
        ("torch", train_main, ["-o", "run"], "train"),
        ("torch", train_main, ["--fine-tune", "."], "train"),
        ("torch", train_main, ["--profile"], "train"),
        ("torch", bench_main, ["las1@onnxruntime-cpu", "las1@torch", "sgbm"], "export"),
        ("onnx", bench_main, ["las1@torch"], "export"),
        ("onnxruntime", bench_main, ["sgbm", "las1@onnxruntime-cpu"], "cpu"),
        ("onnx", bench_main, ["roofline", "las1"], "export"),
        ("torch", bench_main, ["roofline", "las1"], "export"),
        ("torch", export_main, [], "export"),
        ("onnxscript", export_main, ["--exporter", "dynamo"], "export"),
    ],
)
def test_a_command_names_the_extra_before_any_work(
    monkeypatch, capsys, tmp_path, package, main, arguments, extra
):
    monkeypatch.chdir(tmp_path)
    without(monkeypatch, package)
    line = refused(capsys, main, *arguments)
    assert f"{package} is not installed; " in line
    assert f"pip install 'litestereo[{extra}]'" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("main", [export_main, train_main])
def test_a_missing_opencv_is_said_first(monkeypatch, capsys, tmp_path, main):
    monkeypatch.chdir(tmp_path)
    without(monkeypatch, "cv2")
    line = refused(capsys, main)
    assert "OpenCV" in line
    assert "litestereo[opencv]" in line


@pytest.mark.parametrize(
    ("script", "package", "extra"),
    [
        ("alternatives", "torch", "export"),
        ("reference_graph", "onnx", "export"),
        ("piece_graphs", "onnx", "export"),
        ("overfit", "torch", "train"),
    ],
)
def test_a_script_names_the_extra(monkeypatch, script, package, extra):
    monkeypatch.setattr(sys, "argv", [f"{script}.py"])
    monkeypatch.syspath_prepend(BENCHMARKS)
    without(monkeypatch, package)
    with pytest.raises(SystemExit, match=rf"^{script}\.py: error: {package} is not.*\[{extra}\]"):
        runpy.run_path(str(BENCHMARKS / f"{script}.py"), run_name="__main__")
