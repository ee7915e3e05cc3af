"""Receipts: written, read back the same, and refused when anything in them is off."""

import copy
import json

import pytest

from litestereo.benchmarks.latency.receipt import read_receipt, receipt_from_json, write_receipt
from litestereo.errors import InputError


@pytest.fixture
def made(make_receipt, make_subject):
    return make_receipt(make_subject(opened=True), make_subject("sgbm", 5.0))


@pytest.fixture
def content(made):
    return json.loads(json.dumps(made.to_json()))


def test_round_trip(made, tmp_path):
    path = write_receipt(tmp_path / "bench.json", made)
    assert read_receipt(path) == made
    text = path.read_text()
    assert len(text.splitlines()) < 400  # samples on one line, the rest to be read by people
    assert json.loads(text)["schema"] == "litestereo.latency"


def test_subject_by_key(made):
    assert made.subject("sgbm 480x640").label == "sgbm"
    with pytest.raises(KeyError):
        made.subject("other")


def change(content, path, value):
    changed = copy.deepcopy(content)
    place = changed
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


CLOSED = ("subjects", 0, "closed")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("schema",), "litestereo.evaluation", "not a report of stereo-bench"),
        (("schema_version",), 2, "of another version"),
        (("date",), ..., "missing or unknown fields: date"),
        (("remark",), "hello", "missing or unknown fields: remark"),
        (("date",), 5, "receipt.date is 5; need a str"),
        (("settings", "block"), True, "receipt.settings.block is True; need a int"),
        (("settings", "block"), 0, "block is 0; need at least 1"),
        ((*CLOSED, "turns"), [10] * 59, "its turns are not as long as its samples"),
        ((*CLOSED, "turns"), [610, -10], "its turns are not as long"),
        ((*CLOSED, "turns"), [20] * 30, "does not follow from its samples"),
        (("subjects", 0, "open", "turns"), ..., "does not say how long its turns were"),
        (("environment", "cpu", "cores"), "2", "receipt.environment.cpu.cores"),
        (("subjects", 0, "size"), [480], "receipt.subjects\\[0\\].size is .*need 2 items"),
        ((*CLOSED, "kind"), "ajar", "need \\('closed', 'open'\\)"),
        ((*CLOSED, "samples_ms", "total", 3), 1e9, "summary of total does not follow"),
        ((*CLOSED, "samples_ms", "total", 3), -1.0, "negative"),
        ((*CLOSED, "samples_ms", "total", 3), float("nan"), "need a finite number"),
        ((*CLOSED, "samples_ms", "total"), [1.0], "as many samples of every stage"),
        ((*CLOSED, "samples_ms", "total"), ..., "needs inference and total"),
        ((*CLOSED, "summary", "total", "p99_ms"), 1.0, "summary of total does not follow"),
        ((*CLOSED, "summary", "total", "p99_ms"), None, "summary of total does not follow"),
        ((*CLOSED, "summary", "inference"), ..., "summary of inference does not follow"),
        (("subjects", 1, "label"), "las1@torch", "a subject twice"),
    ],
)
def test_what_is_off_is_refused(content, path, value, message):
    receipt_from_json(content)
    with pytest.raises(InputError, match=message):
        receipt_from_json(change(content, path, value))


def test_a_closed_loop_from_before_turns_were_kept_has_blocks(content):
    for subject in content["subjects"]:
        subject["open"] = None
    older = receipt_from_json(change(content, (*CLOSED, "turns"), ...)).subjects[0].closed
    assert older.turns is None
    assert older.summary == receipt_from_json(content).subjects[0].closed.summary
    with pytest.raises(InputError, match="does not follow from its samples"):
        receipt_from_json(
            change(change(content, (*CLOSED, "turns"), ...), ("settings", "block"), 7)
        )


@pytest.mark.parametrize("text", ["[]", "no json", '"text"'])
def test_other_files_are_refused_by_name(tmp_path, text):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"other\.json"):
        read_receipt(path)
