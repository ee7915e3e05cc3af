"""Groups weigh as the benchmarks do; the JSON reads back, and only the JSON does."""

import json
from pathlib import Path

import pytest

from litestereo import __version__
from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.metrics import RegionMetrics
from litestereo.benchmarks.report import SceneResult, group_results
from litestereo.benchmarks.report_io import read_report, report_from_json
from litestereo.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def scene(set_name, name, d1, *, pixels=10, noc=None):
    metrics = None if d1 is None else RegionMetrics(pixels, pixels, d1=d1)
    seen = None if noc is None else RegionMetrics(pixels, pixels, d1=noc)
    return SceneResult(set_name, name, 4, 5, {"all": metrics, "noc": seen})


def by_name(*scenes):
    return {group.name: group for group in group_results(scenes)}


def test_kitti2015_pools_pixels_and_kitti2012_averages_scenes():
    groups = by_name(
        scene("kitti2012", "a", 10, pixels=90),
        scene("kitti2012", "b", 0, pixels=10),
        scene("kitti2015", "a", 10, pixels=90),
        scene("kitti2015", "b", 0, pixels=10),
    )
    assert (groups["kitti2012"].rule, groups["kitti2012"].metric("d1")) == ("mean", 5)
    assert (groups["kitti2015"].rule, groups["kitti2015"].metric("d1")) == ("pooled", 9)
    assert (groups["kitti"].kind, groups["kitti"].metric("d1")) == ("family", 5)
    assert groups["kitti2012"].regions["all"].pooled.d1 == 9


def test_middeval3_halves_the_hard_pairs():
    groups = by_name(scene("middeval3-H", "PianoL", 30), scene("middeval3-H", "Teddy", 0))
    assert groups["middeval3-H"].metric("d1") == 10
    assert groups["middeval3-H"].regions["all"].pooled.d1 == 15


@pytest.mark.parametrize(
    "place", [ROOT / "benchmarks/README.md", ROOT / "litestereo/benchmarks/layouts.py"]
)
def test_no_page_claims_the_leaderboards_metric_for_smaller_sizes(place):
    assert "at the stored size, not the leaderboard's" in place.read_text("utf-8")


def test_families_span_sets_scene_by_scene():
    groups = by_name(
        *(scene("middlebury2001", name, 0) for name in "abc"), scene("middlebury2014", "d", 8)
    )
    assert list(groups) == ["middlebury2001", "middlebury2014", "middlebury"]
    assert groups["middlebury"].metric("d1") == 2
    assert groups["middlebury"].regions["all"].scenes == 4


def test_regions_count_their_own_scenes():
    group = by_name(scene("x", "a", 4, noc=2), scene("x", "b", 8), scene("x", "c", None))["x"]
    assert [group.regions[name].scenes for name in ("all", "noc")] == [2, 1]
    assert (group.metric("d1"), group.metric("d1", region="noc")) == (6, 2)
    empty = by_name(scene("y", "a", None))["y"]
    assert empty.metric("d1") is None
    assert empty.regions["all"].scenes == 0


@pytest.fixture
def report(data, constant):
    (data / "meta" / "home" / "room" / "right.png").unlink()
    return evaluate(constant(9, confident=True), find_scenes(data), confidence=True)


def test_json_reads_back_as_the_same_report(report, tmp_path):
    text = json.dumps(report.to_json(), allow_nan=False)
    assert report_from_json(json.loads(text)) == report
    path = tmp_path / "report.json"
    path.write_text(text)
    assert read_report(path).litestereo_version == __version__


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda json: json.update(schema_version=99), "schema_version is 99, need 1"),
        (lambda json: json.pop("matcher"), "matcher"),
        (lambda json: json["scenes"][0].update(extra=1), r"scenes\[0\] has .* extra"),
        (
            lambda json: json["scenes"][0]["regions"]["all"].pop("pixels"),
            r"regions\.all has .* pixels",
        ),
        (lambda json: json["scenes"][0]["regions"]["all"].update(d1=101), r"d1 is 101\.0; need"),
        (
            lambda json: json["groups"][0]["regions"]["all"]["mean"].update(epe="1"),
            r"mean\.epe is '1'",
        ),
        (lambda json: json["groups"][0]["regions"].pop("noc"), "noc"),
        (lambda json: json.update(scenes=3), "scenes is 3; need a list"),
        (lambda json: json.update(matcher=3), "matcher is 3; need a str"),
        (lambda json: json["scenes"][0].update(height="4"), "height is '4'; need a int"),
        (lambda json: json["groups"][0].update(rule="best"), "rule is 'best'; need"),
        (lambda json: json["groups"][0].update(ause=[0.1]), "ause is"),
    ],
)
def test_json_of_another_form_is_refused(report, spoil, message):
    content = json.loads(json.dumps(report.to_json()))
    spoil(content)
    with pytest.raises(InputError, match=message):
        report_from_json(content)


def test_file_that_is_no_json_is_refused(tmp_path):
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(InputError, match=r"cannot read .*report.json as JSON"):
        read_report(tmp_path / "report.json")
