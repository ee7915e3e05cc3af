"""`stereo-eval` from its arguments to its table, JSON, pictures and page."""

import json
from hashlib import sha256
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest
import trees
from stand_in import write_stand_in

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.error_map import ERROR_COLORS
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.metrics import MetricOptions
from litestereo.benchmarks.page import PictureWriter, write_page
from litestereo.benchmarks.report_io import read_report, report_from_json
from litestereo.cli import eval_main


@pytest.fixture
def stereo_eval(run_command):
    """Run the command; return (status, stdout, stderr)."""
    return run_command(eval_main)


class Page(HTMLParser):
    """Collects what the tests ask for."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.captions = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, text):
        if self.tags and self.tags[-1][0] == "b":
            self.captions.append(text.strip())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def test_table_on_stdout_words_on_stderr(stereo_eval, data):
    status, out, err = stereo_eval(data, "--backend", "sgbm")
    assert status == 0
    assert out.splitlines()[0].startswith("px, %")
    assert "kitti2015 pooled of 1" in out
    assert err.splitlines()[0] == "1/4 home/room"


def test_onnxruntime_is_the_default(stereo_eval, data, tmp_path):
    artefact = write_stand_in(tmp_path / "stand_in.onnx")
    status, out, _ = stereo_eval(data, "--weights", artefact, "--json")
    content = json.loads(out)
    assert status == 0
    assert content["matcher"] == "stand-in (onnxruntime-cpu, fp32)"
    assert content["artifact_sha256"] == sha256(artefact.read_bytes()).hexdigest()
    assert content["scale"] == 1
    assert len(content["scenes"]) == 4
    assert content["groups"][0]["ause"] is not None
    assert report_from_json(content).group("kitti").regions["all"].scenes == 2


def test_folder_gets_report_error_maps_and_page(stereo_eval, data, tmp_path):
    folder = tmp_path / "out"
    status, *_ = stereo_eval(data, "--backend", "sgbm", "-o", folder, "--html")
    assert status == 0
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    maps = ["home/room", "kitti2012/000007", "kitti2015/000007", "middeval3-H/PianoL"]
    assert files == [*(f"errors/{name}.png" for name in maps), "report.html", "report.json"]
    drawn = cv2.imread(str(folder / "errors/home/room.png"))[..., ::-1]
    assert drawn.shape == (*trees.SIZE, 3)
    assert not drawn[: trees.UNKNOWN_ROWS].any()
    assert {tuple(color) for color in drawn[trees.UNKNOWN_ROWS :].reshape(-1, 3).tolist()} <= set(
        ERROR_COLORS
    )
    report = read_report(folder / "report.json")
    assert (len(report.scenes), report.artifact_sha256, report.scale) == (4, None, 1)


def test_without_html_there_is_no_page(stereo_eval, data, tmp_path):
    stereo_eval(data, "--backend", "sgbm", "-o", tmp_path / "out")
    assert not (tmp_path / "out/report.html").exists()


def test_broken_scene_is_said_and_the_status_is_one(stereo_eval, data):
    (data / "meta/home/room/disp.png").write_bytes(b"no picture")
    status, out, err = stereo_eval(data, "--backend", "sgbm")
    assert status == 1
    assert "kitti mean of 2" in out
    assert "home/room: " in err
    assert "1 scene could not be scored" in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--html"], 2, "--html needs a folder"),
        (["--backend", "magic"], 1, "backend 'magic' is unknown"),
        (["--holes", "guess"], 1, "holes='guess' is unknown"),
        (["--layout", "eth3d"], 1, "holds no scene of eth3d"),
        (["--nonsense"], 2, "--nonsense"),
    ],
)
def test_wrong_usage(stereo_eval, data, arguments, status, message):
    got, out, err = stereo_eval(data, *arguments)
    assert (got, out) == (status, "")
    assert message in err
    assert "Traceback" not in err


def test_nothing_given_is_wrong_usage(stereo_eval):
    assert stereo_eval()[0] == 2


def write(data, folder, matcher, **options):
    pictures = PictureWriter(folder, options=MetricOptions(), **options)
    report = evaluate(matcher, find_scenes(data), watch=pictures)
    path = write_page(folder / "report.html", report, pictures=pictures)
    return path.read_text("utf-8")


def test_page_is_self_contained_and_has_a_slider_a_scene(data, tmp_path, constant):
    text = write(data, tmp_path / "out", constant())
    page = Page(text)
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    assert len(page.all("img")) == 3 * 4
    assert not page.all("link")
    assert "src" not in page.all("script")[0]
    assert "http" not in text.replace("data:image", "")
    sliders = [given for given in page.all("input") if "id" not in given]
    assert [(given["min"], given["max"]) for given in sliders] == [("0", "200")] * 4


def test_page_is_sorted_by_worst_and_keeps_the_worst(data, tmp_path, constant):
    class Depends(constant):
        def __call__(self, left, right, *, largest_px=None):
            match = super().__call__(left, right, largest_px=largest_px)
            bad_rows = 5 * len(self.asked)  # each scene worse than the one before
            match.disparity_px[-bad_rows:] += 50
            return match

    keys = ["home/room", "kitti2012/000007", "kitti2015/000007", "middeval3-H/PianoL"]
    page = Page(write(data, tmp_path / "all", Depends()))
    assert [caption for caption in page.captions if "/" in caption] == keys[::-1]
    bad = [float(given["data-bad_2"]) for given in page.all("figure")]
    assert bad == sorted(bad, reverse=True)
    text = write(data, tmp_path / "some", Depends(), most=2)
    assert [caption for caption in Page(text).captions if "/" in caption] == keys[:1:-1]
    assert "The 2 worst scenes; 2 better ones" in text


def test_page_escapes_names(tmp_path, constant):
    trees.meta(tmp_path / "data", name="a<b>&amp;")
    matcher = constant()
    matcher.name = "<script>alert(1)</script>"
    text = write(tmp_path / "data", tmp_path / "out", matcher)
    assert "<script>alert" not in text
    assert "a&lt;b&gt;&amp;amp;" in text


def test_page_of_a_scene_without_truth_shows_two_layers(tmp_path, constant):
    folder = trees.meta(tmp_path / "data")
    described = json.loads((folder / "meta.json").read_text())
    described["files"].pop("gt")
    (folder / "meta.json").write_text(json.dumps(described))
    page = Page(write(tmp_path / "data", tmp_path / "out", constant()))
    assert [image["class"] for image in page.all("img")] == ["left", "disparity"]
    assert not (tmp_path / "out/errors").exists()


def test_large_pictures_are_made_smaller_for_the_page(tmp_path, constant):
    folder = trees.meta(tmp_path / "data")
    size = (40, 1200)
    trees.save_pair(folder / "left.png", folder / "right.png", size=size)
    trees.save_counts(folder / "disp.png", 4, disparity=trees.truth(size))
    page = Page(write(tmp_path / "data", tmp_path / "out", constant()))
    data_uri = page.all("img")[0]["src"]
    import base64

    content = np.frombuffer(base64.b64decode(data_uri.split(",")[1]), np.uint8)
    assert cv2.imdecode(content, cv2.IMREAD_COLOR).shape == (32, 960, 3)
