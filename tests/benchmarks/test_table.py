"""The terminal's table shows every scene and group, and fits the terminal."""

import pytest

from litestereo.benchmarks.datasets import find_scenes
from litestereo.benchmarks.evaluate import evaluate
from litestereo.benchmarks.table import evaluation_table, format_table


@pytest.fixture
def report(data, constant):
    return evaluate(constant(8.5, confident=True), find_scenes(data), confidence=True)


def test_rows_and_figures(report):
    lines = evaluation_table(report).splitlines()
    first = [line.split("  ")[0] for line in lines if not line.startswith("-")]
    assert first == [
        "px, %",
        "home/room",
        "home mean of 1",
        "kitti2012/000007",
        "kitti2012 mean of 1",
        "kitti2015/000007",
        "kitti2015 mean of 1",
        "kitti2015 pooled of 1",
        "middeval3-H/PianoL",
        "middeval3-H mean of 1",
        "kitti mean of 2",
    ]
    titles = lines[0].split()
    assert titles[-2:] == ["AUSE", "random"]
    room = next(line for line in lines if line.startswith("home/room")).split()
    assert room[1:4] == ["2.50", "100.00", "100.00"]  # EPE, bad-1, bad-2
    assert room.count("-") == 3  # no mask, no figure


def test_columns_line_up(report):
    lines = [line for line in evaluation_table(report).splitlines() if not line.startswith("-")]
    ends = {len(line) for line in lines}
    assert len(ends) == 1


@pytest.mark.parametrize("width", [40, 60, 100])
def test_narrow_terminals_lose_columns_from_the_right(report, width):
    narrow, full = (evaluation_table(report, width=given) for given in (width, None))
    assert max(map(len, narrow.splitlines())) <= width < max(map(len, full.splitlines()))
    assert all(
        line.startswith(short.rstrip())
        for short, line in zip(narrow.splitlines(), full.splitlines(), strict=True)
    )


def test_no_line_ends_the_table(constant, data):
    table = evaluation_table(evaluate(constant(), find_scenes(data / "meta")))
    assert table.splitlines()[-1].startswith("home mean of 1")


def test_label_says_when_fewer_scenes_have_a_mask(report, data, constant):
    (data / "kitti2012/training/disp_noc").rename(data / "kitti2012/training/away")
    table = evaluation_table(evaluate(constant(), find_scenes(data)))
    assert "kitti mean of 2 (noc: 1)" in table
    assert "AUSE" not in table


def test_format_table():
    rows = [["a", "1.00"], [], ["long name", "10.00"]]
    text = format_table(["name", "px"], rows)
    assert text.splitlines() == [
        "name          px",
        "----------------",
        "a           1.00",
        "----------------",
        "long name  10.00",
    ]
