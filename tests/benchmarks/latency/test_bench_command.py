"""`stereo-bench` from its arguments to its table, receipt and page, on subjects that are quick."""

import json
import sys

import pytest
from stand_in import write_stand_in

from litestereo.benchmarks.latency.receipt import read_receipt, receipt_from_json
from litestereo.benchmarks.latency.tables import receipt_notes, receipt_table
from litestereo.cli import bench_main


@pytest.fixture
def stereo_bench(run_command):
    """Run the command; return (status, stdout, stderr)."""
    return run_command(bench_main)


@pytest.fixture
def tiny(tmp_path):
    return f"{write_stand_in(tmp_path / 'tiny.onnx')}@onnxruntime-cpu"


QUICK = ("--size", "64x96", "--iterations", "20", "--threads", "1", "--no-memory")


def test_side_by_side(stereo_bench, tiny, tmp_path):
    path = tmp_path / "bench.json"
    status, out, err = stereo_bench(tiny, "sgbm", *QUICK, "--rate", 50, "--frames", 20, "-o", path)
    assert status == 0
    lines = out.splitlines()
    assert lines[0].split()[:4] == ["ms", "x", "first", "p50"]
    assert lines[2].split()[:3] == ["tiny@onnxruntime-cpu", "64x96", "1"]
    assert lines[3].startswith("sgbm 64x96")
    assert "ms at 50 Hz" in out
    assert "20 samples are too few for p90, p95, p99" in out
    assert "2/2 rounds" in err
    receipt = read_receipt(path)
    one = receipt.subject("tiny@onnxruntime-cpu 64x96")
    assert one.closed.summary["total"].samples == 20
    assert len(one.open.samples_ms["response"]) + one.open.dropped == 20
    assert sum(one.open.turns) == len(one.open.samples_ms["response"])
    assert one.closed.turns == (10, 10)
    assert one.answer_px > 0
    assert one.details == {"threads": "1"}
    assert receipt.settings.rate_hz == 50


def test_json_is_the_receipt(stereo_bench, tiny):
    status, out, _ = stereo_bench("run", tiny, *QUICK, "--json")
    assert status == 0
    assert receipt_from_json(json.loads(out)).subjects[0].model == "stand-in"


def test_several_sizes(stereo_bench, tiny):
    _, out, _ = stereo_bench(*QUICK, "--size", "32", "64", tiny)
    assert "tiny@onnxruntime-cpu 64x96" in out
    assert "tiny@onnxruntime-cpu 32x64" in out
    assert out.splitlines()[3].startswith("---")  # a line between sizes


def test_memory_is_of_another_process(stereo_bench, tiny):
    without = [argument for argument in QUICK if argument != "--no-memory"]
    _, out, _ = stereo_bench(tiny, *without, "--json")
    memory = receipt_from_json(json.loads(out)).subjects[0].memory
    assert 30 < memory.host_mib < 2000
    assert memory.device_mib is None or memory.device_mib >= 0


def test_a_subject_that_fails_is_a_note_and_the_rest_is_timed(stereo_bench, tiny, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no model")
    status, out, err = stereo_bench(tiny, f"{broken}@onnxruntime-cpu", *QUICK)
    assert status == 1
    assert "tiny@onnxruntime-cpu 64x96" in out
    assert "was not timed: ONNX Runtime cannot load" in out
    assert "was not timed" in err


def test_a_time_limit_ends_the_run_and_is_said(stereo_bench, tiny):
    arguments = ("--size", "64x96", "--iterations", "1000000", "--minutes", "0.01", "--no-memory")
    status, out, _ = stereo_bench(tiny, *arguments)
    assert status == 0
    assert " of 1000000 iterations in 0.01 minutes" in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["las1"], 1, "'las1' is no subject"),
        (["sgbm", "sgbm"], 1, "the same twice"),
        (["sgbm", "--size", "big"], 1, "need HEIGHTxWIDTH"),
        (["sgbm", "--size", "8x8"], 1, "each from 32"),
        (["sgbm", "-o", "bench.txt", *QUICK], 1, "does not end in .json"),
        (["none.onnx@onnxruntime-cpu", *QUICK], 1, "no subject can be timed"),
        (["sgbm", "--iterations", "0"], 2, "--iterations"),
        (["run"], 2, "SUBJECT"),
        (["compare", "a.json"], 2, "'B'"),
    ],
)
def test_wrong_usage(stereo_bench, arguments, status, message):
    got, out, err = stereo_bench(*arguments)
    assert (got, out) == (status, "")
    assert message in err
    assert "Traceback" not in err


def test_nothing_given_shows_help_or_usage(stereo_bench):
    status, _, err = stereo_bench()
    assert status == 2
    assert "Usage" in err


def test_help_lists_each_command_whole(stereo_bench):
    status, out, _ = stereo_bench("--help")
    assert status == 0
    listed = out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == [
        "run",
        "roofline",
        "compare",
        "report",
        "readme",
    ]
    assert all(line.endswith(".") and not line.endswith("...") for line in listed)


def test_command_is_noted(stereo_bench, tiny, monkeypatch, tmp_path):
    words = ["/home/eve/a.onnx@torch", "--plugin", "/opt/b/plugin.so", "-o", "here/c.json"]
    monkeypatch.setattr(sys, "argv", ["stereo-bench", *words])
    _, out, _ = stereo_bench(tiny, *QUICK, "--json")
    command = receipt_from_json(json.loads(out)).command
    assert command == "stereo-bench a.onnx@torch --plugin plugin.so -o here/c.json"


def test_doubts_are_said(make_receipt, make_subject, make_samples):
    wild = make_subject(samples_ms=make_samples(20.0, count=60, spread=1.0))
    receipt = make_receipt(wild, notes=("something was left out",))
    notes = receipt_notes(receipt)
    assert notes[0] == "something was left out"
    assert "noisy (~): the median lies between" in notes[1]
    assert notes[2].endswith("60 samples are too few for p99")
    assert receipt_notes(receipt, percentiles=False) == notes[:2]
    row = receipt_table(make_receipt(wild)).splitlines()[2]
    assert "~" in row


def test_a_doubt_that_several_share_is_said_once(make_receipt, make_subject, make_samples):
    few = make_samples(20.0, count=60, spread=0.0)
    wild = make_samples(20.0, count=60, spread=1.0)
    subjects = make_subject(samples_ms=few), make_subject("sgbm", samples_ms=few)
    assert receipt_notes(make_receipt(*subjects)) == ["all 2: 60 samples are too few for p99"]
    long = make_subject("torch", samples_ms=make_samples(20.0, count=600, spread=0.0))
    (note,) = receipt_notes(make_receipt(*subjects, long))
    assert note == f"{subjects[0].key}, {subjects[1].key}: 60 samples are too few for p99"
    noisy = make_subject(samples_ms=wild), make_subject("sgbm", samples_ms=wild)
    note, _ = receipt_notes(make_receipt(*noisy))
    assert all(f"ms ({subject.key})" in note for subject in noisy)


def test_ratios_are_to_the_first_of_the_size(make_receipt, make_subject):
    receipt = make_receipt(make_subject(median_ms=20.0), make_subject("sgbm", 5.0))
    rows = receipt_table(receipt).splitlines()
    assert rows[2].split()[2:4] == ["1", "20.0"]
    assert rows[3].split()[2] == "0.250"
