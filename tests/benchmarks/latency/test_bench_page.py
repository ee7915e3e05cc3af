"""The page of a receipt: self-contained, complete, and drawn by a browser where there is one."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.latency.layers import Layer, read_profile
from litestereo.benchmarks.latency.page import (
    METRIC_TITLES,
    accuracy_of,
    headline_metric,
    write_bench_page,
)
from litestereo.benchmarks.latency.receipt import write_receipt
from litestereo.benchmarks.latency.svg import COLORS, Point, Strip, bars, scatter, strips
from litestereo.cli import bench_main
from litestereo.errors import InputError

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

TRACE = [
    {"cat": "Session", "name": "model_run", "dur": 5000},
    *(
        {
            "cat": "Node",
            "name": "conv_1_kernel_time",
            "dur": dur,
            "args": {"op_name": "Conv"},
        }
        for dur in (900, 1100)
    ),
    {"cat": "Node", "name": "conv_1_fence_before", "dur": 70, "args": {"op_name": "Conv"}},
    {"cat": "Node", "name": "add_kernel_time", "dur": 30, "args": {"op_name": "Add"}},
]
TENSORRT = [
    {"count": 2},
    {"name": "conv + relu", "timeMs": 6.0, "averageMs": 3.0, "percentage": 75.0},
    {"name": "resize", "timeMs": 8.0, "averageMs": 4.0, "percentage": 25.0},
]


def saved(path, content):
    path.write_text(json.dumps(content))
    return path


def chromium(*arguments, page, folder):
    ran = subprocess.run(
        [
            *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=3000"),
            *("--window-size=1040,1500", *arguments, page),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture
def reports(data, constant, make_subject):
    matcher = constant(8.5)
    matcher.name = "las1 (onnxruntime-cpu, fp32)"
    report = evaluate(matcher, find_scenes(data))
    return [replace(report, artifact_sha256=make_subject("las1@torch").artifact_sha256, scale=1.0)]


@pytest.fixture
def page(make_receipt, make_subject, reports, tmp_path):
    receipt = make_receipt(
        make_subject("las1@torch", 20.0, opened=True), make_subject("sgbm", 5.0, opened=True)
    )
    layers = [Layer("conv <1>", "Conv", 3.0), Layer("add", "Add", 0.1)]
    return write_bench_page(
        tmp_path / "bench.html", receipt, accuracy=reports, profiles={"engine": layers}
    )


def test_page_is_self_contained(page):
    text = page.read_text()
    assert not re.search(r"(src|href)=", text)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "conv &lt;1&gt;" in text
    assert "<svg" in text


class Structure(HTMLParser):
    """Checks that what is opened is closed."""

    VOID = ("meta", "line", "circle", "rect", "path", "br")

    def __init__(self, text):
        super().__init__()
        self.stack = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.stack.pop() == tag


def test_page_is_well_formed(page):
    assert Structure(page.read_text()).stack == []


def test_names_are_escaped(make_receipt, make_subject, tmp_path):
    receipt = make_receipt(make_subject("<script>alert(1)</script>@torch"))
    text = write_bench_page(tmp_path / "bench.html", receipt).read_text()
    assert "<script>alert" not in text


@needs_chromium
def test_browser_runs_the_script_and_shows_one_stage(page, tmp_path):
    for stage in ("", "#inference", "#response", "#nonsense"):
        dom = chromium("--dump-dom", page=page.as_uri() + stage, folder=tmp_path)
        shown = re.findall(r'<section class="stage" data-stage="(\w+)"(?! hidden)', dom)
        assert shown == [stage[1:] if stage in ("#inference", "#response") else "total"]


@needs_chromium
def test_browser_draws_both_subjects(page, tmp_path):
    chromium(f"--screenshot={tmp_path / 'page.png'}", page=page.as_uri(), folder=tmp_path)
    picture = cv2.imread(str(tmp_path / "page.png"))[..., ::-1].astype(int)
    for color in COLORS[:2]:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        drawn = np.abs(picture - rgb).max(axis=2) < 8
        assert drawn.sum() > 50  # the median's bar alone is 4 x 32
        rows = np.flatnonzero(drawn.any(axis=1))
        assert len(rows) >= 30


@needs_chromium
def test_browser_slides_over_the_accuracy_page(data, tmp_path, constant):
    from litestereo.benchmarks.metrics import MetricOptions
    from litestereo.benchmarks.page import PictureWriter, write_page

    pictures = PictureWriter(tmp_path / "out", options=MetricOptions())
    report = evaluate(constant(), find_scenes(data), watch=pictures)
    page = write_page(tmp_path / "out/report.html", report, pictures=pictures)
    shots = []
    for value in (0, 100, 200):
        moved = tmp_path / f"{value}.html"
        moved.write_text(page.read_text().replace("--x:100", f"--x:{value}"))
        chromium(f"--screenshot={tmp_path / 'shot.png'}", page=moved.as_uri(), folder=tmp_path)
        shots.append(cv2.imread(str(tmp_path / "shot.png")).astype(int))
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert (np.abs(shots[one] - shots[other]).max(axis=2) > 40).mean() > 0.02


def test_accuracy_is_that_of_the_same_file_at_the_same_scale(reports, make_subject):
    subject, (same,) = make_subject("las1@torch"), reports
    assert accuracy_of(subject, reports) is same
    on_torch = replace(same, matcher="las1 (torch, cpu, float32)")
    assert accuracy_of(subject, [same, on_torch]) is on_torch
    others = {"scale": 1.25}, {"artifact_sha256": "cd" * 32}, {"artifact_sha256": None}
    assert accuracy_of(subject, [replace(same, **other) for other in others]) is None


def test_accuracy_of_sgbm_is_that_of_the_same_opencv(reports, make_subject):
    details = {"parameters": "StereoSGBM (OpenCV 5.0.0)"}
    subject = replace(make_subject("sgbm"), artifact_sha256=None, details=details)
    names = "StereoSGBM (OpenCV 4.0.0)", "StereoSGBM (OpenCV 5.0.0)"
    older, same = (replace(reports[0], matcher=name) for name in names)
    assert accuracy_of(subject, [older, same]) is same
    assert accuracy_of(subject, [older]) is None


def test_page_says_where_no_report_is_of_what_was_timed(
    make_receipt, make_subject, reports, tmp_path
):
    old = replace(reports[0], artifact_sha256=None, scale=None)
    page = write_bench_page(
        tmp_path / "bench.html", make_receipt(make_subject("las1@torch")), accuracy=[old]
    )
    assert "No accuracy report is of a file that was timed, at scale 1" in page.read_text()


def test_points_stand_where_the_figures_say(page):
    text = page.read_text()
    assert "Accuracy against latency" in text
    assert re.search(r"las1@torch: 20(\.\d+)?, \d", text)
    assert "kitti, timed at 480x640" in text
    for title in ("D1, %, all pixels", "bad-3, %, all pixels"):  # of KITTI 2015, and of 2012
        assert title in text


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("kitti2012", "bad_3"),
        ("kitti2015", "d1"),
        ("kitti", "d1"),
        ("eth3d", "bad_1"),
        ("middeval3-H", "bad_2"),
        ("sceneflow", "epe"),
    ],
)
def test_metric_is_the_error_that_the_table_counts(name, metric):
    assert headline_metric(name) == metric
    assert metric in METRIC_TITLES


def test_profile_of_onnxruntime(tmp_path):
    layers = read_profile(saved(tmp_path / "trace.json", TRACE))
    assert layers == [Layer("conv_1", "Conv", 1.0), Layer("add", "Add", 0.03)]


def test_profile_of_tensorrt(tmp_path):
    layers = read_profile(saved(tmp_path / "profile.json", TENSORRT))
    assert layers == [Layer("resize", "", 4.0), Layer("conv + relu", "", 3.0)]


@pytest.mark.parametrize("content", [{}, [], [{"cat": "Node"}], [{"count": 1}, {}], "text"])
def test_other_profiles_are_refused(tmp_path, content):
    with pytest.raises(InputError, match="profile"):
        read_profile(saved(tmp_path / "profile.json", content))


def test_real_profile_of_onnxruntime(tmp_path):
    import onnxruntime
    from stand_in import stand_in_model

    options = onnxruntime.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "trace")
    session = onnxruntime.InferenceSession(
        stand_in_model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    picture = np.zeros((64, 64, 3), np.uint8)
    session.run(None, {"left": picture, "right": picture})
    layers = read_profile(tmp_path / session.end_profiling())
    assert {"ReduceMean", "Mul"} <= {layer.kind for layer in layers}
    assert all(layer.mean_ms > 0 for layer in layers[:2])


def test_command(make_receipt, make_subject, tmp_path, capsys):
    receipt = write_receipt(tmp_path / "bench.json", make_receipt(make_subject()))
    trace = saved(tmp_path / "trace.json", TRACE)
    arguments = ["report", receipt, "-o", tmp_path / "page.html", "--profile", trace]
    with pytest.raises(SystemExit):
        bench_main([str(argument) for argument in arguments])
    assert capsys.readouterr().out.strip() == str(tmp_path / "page.html")
    assert "Time per layer: trace" in (tmp_path / "page.html").read_text()


def test_axis_has_numbers_whatever_the_range():
    for low, high in ((0.01, 0.011), (1, 1.2), (3, 300), (10, 10)):
        row = Strip("one", [low, high], low, high)
        assert strips([row]).count('class="tick"') >= 3


def test_drawings_of_odd_values():
    assert 'cy="320.0"' in scatter([Point("zero", 1.0, 0.0)], x_unit="ms", y_unit="px")
    assert bars([("a", 0.0)], unit="ms").count("<rect") == 1
