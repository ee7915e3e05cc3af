"""The README's tables follow from the committed results, which are whole."""

import json
from pathlib import Path

import known_receipts
import pytest

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.latency.receipt import write_receipt
from litestereo.benchmarks.metrics import MetricOptions, RegionMetrics
from litestereo.benchmarks.readme import filled, read_result, read_results, update_readme
from litestereo.benchmarks.report import EvaluationReport, SceneResult, group_results
from litestereo.cli import bench_main
from litestereo.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks/results"
MARKED = "before\n<!-- table: {} -->\nold\n<!-- end -->\nafter\n"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_committed_result_is_whole_and_tells_nothing_private(path):
    read_result(path)
    assert_nothing_private(path)


def assert_nothing_private(path):
    text = path.read_text()
    for private in ("/home/", "/root/", "/work/", "/tmp/", "/Users/"):
        assert private not in text, f"{path.name} names a folder of the machine: {private}"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("training/*")), ids=lambda path: path.stem)
def test_a_training_run_says_what_it_was_and_what_came(path):
    assert_nothing_private(path)
    run = json.loads(path.read_text())
    assert {"what", "device", "torch", "commit", "options", "came", "log"} <= run.keys()
    steps = [line["step"] for line in run["log"]]
    assert steps == sorted(steps)
    assert all(line["loss"] > 0 for line in run["log"])


def test_results_hold_nothing_else():
    others = [path for path in RESULTS.rglob("*") if path.is_file() and path.suffix != ".json"]
    assert others == []
    for path in (*RESULTS.glob("profiles/*"), *RESULTS.glob("agreement/*")):
        assert_nothing_private(path)


@pytest.mark.parametrize("page", ["README.md", "docs/speed.md"])
def test_pages_are_up_to_date(page):
    assert not update_readme(ROOT / page, results=RESULTS, write=False), (
        f"run `stereo-bench readme {page}`"
    )


@pytest.mark.parametrize("page", ["README.md", "docs/model-card-las1.md"])
def test_pages_tell_middlebury_without_the_second_size_of_teddy(page):
    text = (ROOT / page).read_text("utf-8")
    after = text[text.index("without the second size") :][:200]
    for name in ("las1", "las1-scale-1.25", "sgbm"):
        scenes = read_result(RESULTS / f"accuracy-{name}.json").scenes
        bad_2 = {s.name: s.regions["all"].bad_2 for s in scenes if s.set.startswith("middlebury")}
        assert len(bad_2) == 17
        del bad_2["Teddy_H"]
        assert f"{sum(bad_2.values()) / 16:.2f}" in after


@pytest.mark.parametrize("page", ["README.md", "docs/model-card-las1.md"])
def test_pages_call_the_pairs_that_were_looked_at_a_development_set(page):
    text = (ROOT / page).read_text("utf-8")
    assert "are a development set" in text
    assert "\nZero-shot, on every scene" not in text


@pytest.fixture
def report(data, constant):
    return evaluate(constant(8.5), find_scenes(data))


def test_accuracy_has_a_row_a_report(report):
    text = filled(MARKED.format("accuracy"), {"accuracy-a": report, "accuracy-b": report})
    lines = text.splitlines()
    assert lines[0] == "before"
    assert lines[2].split("|")[2].strip() == "home EPE, px"
    assert "kitti D1, %" in lines[2]
    assert "kitti2015" not in lines[2]  # the family stands for its sets
    assert lines[4] == lines[5]
    assert lines[4].startswith("| constant | 2.50 |")
    assert lines[6:] == ["<!-- end -->", "after"]


def test_a_set_whose_name_only_begins_like_a_family_has_its_column():
    # What belongs to the family "room", a set of that name too, is told as the family.
    errors = {"room1": 1.0, "room2": 2.0, "room": 6.0, "roomscan": 9.0}
    scenes = [
        SceneResult(name, "a", 4, 5, {"all": RegionMetrics(20, 20, epe=epe), "noc": None})
        for name, epe in errors.items()
    ]
    groups = group_results(scenes)
    report = EvaluationReport("m", MetricOptions(), tuple(scenes), groups, ())
    table = filled(MARKED.format("accuracy"), {"accuracy": report}).splitlines()
    assert table[2] == "|  | roomscan EPE, px | room EPE, px |"
    assert table[4] == "| m | 9.00 | 3.00 |"


def test_latency_has_a_row_a_subject(latency_receipt):
    text = filled(MARKED.format("latency-gpu"), {"latency-gpu-480x640": latency_receipt})
    assert "a CPU (2 cores)" in text
    assert "milliseconds, end to end" in text
    assert "| las1@torch | fp32 | 480x640 | 1 | 20.0 |" in text
    assert "old" not in text


def test_ratios_tell_no_milliseconds(latency_receipt):
    text = filled(MARKED.format("latency ratios"), {"latency": latency_receipt})
    assert "| sgbm | fp32 | 480x640 | 0.250 |" in text
    assert "p50" not in text
    assert "20.0" not in text


def test_without_results_there_is_nothing(report):
    assert filled(MARKED.format("latency"), {"accuracy": report, "latencyx": report}) == (
        "before\n<!-- table: latency -->\n<!-- end -->\nafter\n"
    )


@pytest.mark.parametrize(
    "text", ["<!-- table: a -->\nno end", "<!-- table: -->\n<!-- end -->", "<!-- table: a b -->\n"]
)
def test_markers_that_are_not_whole(text):
    with pytest.raises(InputError, match="not whole"):
        filled(text, {})


def test_command_writes_and_checks(latency_receipt, tmp_path, capsys):
    readme = tmp_path / "README.md"
    readme.write_text(MARKED.format("latency"))
    write_receipt(tmp_path / "results/latency.json", latency_receipt)
    arguments = ["readme", str(readme), "--results", str(tmp_path / "results")]
    for extra, status in ((["--check"], 1), ([], 0), (["--check"], 0)):
        with pytest.raises(SystemExit) as leaving:
            bench_main([*arguments, *extra])
        assert (leaving.value.code or 0) == status
    assert "las1@torch" in readme.read_text()
    assert "up to date" in capsys.readouterr().err


def test_broken_results_are_named(tmp_path):
    (tmp_path / "latency.json").write_text(json.dumps({"schema": "litestereo.latency"}))
    with pytest.raises(InputError, match=r"latency.json: schema_version"):
        read_results(tmp_path)


@pytest.fixture
def latency_receipt():
    return known_receipts.receipt(known_receipts.subject(), known_receipts.subject("sgbm", 5.0))
