"""Comparing receipts: verdicts by the stated rule, on samples whose ratio is known."""

import dataclasses

import pytest

from litestereo.benchmarks.latency.compare import compare_receipts, comparison_table
from litestereo.benchmarks.latency.receipt import write_receipt
from litestereo.cli import bench_main
from litestereo.errors import InputError


@pytest.fixture
def compared(make_receipt, make_subject, make_samples):
    def compare(ratio, *, spread=0.02, count=600, **options):
        before = make_receipt(make_subject())
        slow = make_samples(20.0 * ratio, seed=9, spread=spread, count=count)
        after = make_receipt(make_subject(samples_ms=slow))
        return compare_receipts(before, after, **options)

    return compare


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [(1.2, "regression"), (1.03, "slower"), (1.0, "same"), (0.9, "faster")],
)
def test_verdicts(compared, ratio, verdict):
    comparison = compared(ratio)
    (change,) = comparison.changes
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(ratio, rel=0.01)
    assert change.interval.low <= change.ratio <= change.interval.high
    assert bool(comparison.failures) == (verdict == "regression")


def test_bound_is_the_callers(compared):
    assert compared(1.2, bound=0.3).changes[0].verdict == "slower"
    assert compared(1.03, bound=0.0).changes[0].verdict == "regression"


def test_noise_is_no_regression(compared):
    assert compared(1.06, spread=1.5, count=60).changes[0].verdict == "same"


def test_too_few_samples_are_no_pass(compared):
    assert compared(1.0, count=40).failures[0].verdict == "too few samples"
    assert compared(1.0, count=5).failures[0].ratio is None


def test_what_is_gone_fails_and_what_is_new_does_not(make_receipt, make_subject):
    one, two = make_subject(), make_subject("sgbm", 5.0)
    gone = compare_receipts(make_receipt(one, two), make_receipt(one))
    assert [change.verdict for change in gone.changes] == ["same", "gone"]
    assert len(gone.failures) == 1
    new = compare_receipts(make_receipt(one), make_receipt(one, two))
    assert [change.verdict for change in new.changes] == ["same", "new"]
    assert not new.failures


def test_other_machines_are_said(make_receipt, make_subject):
    before = make_receipt(make_subject())
    place = dataclasses.replace(
        before.environment,
        cpu=dataclasses.replace(before.environment.cpu, name="another CPU"),
        packages={"numpy": "2.0.0", "torch": "2.9"},
    )
    after = dataclasses.replace(before, environment=place)
    assert compare_receipts(before, after).differences == (
        "CPU: A a CPU, B another CPU",
        "torch: A None, B 2.9",
    )


def test_what_ran_otherwise_is_said_of_each_subject(make_receipt, make_subject):
    before = make_receipt(make_subject(details={"tf32 matmul": "False"}), make_subject("sgbm"))
    changed = make_subject(
        precision="int8",
        inference_size=(480, 736),
        artifact_sha256="cd" * 32,
        details={"tf32 matmul": "True", "threads": "2"},
    )
    after = make_receipt(
        changed,
        make_subject("sgbm"),
        settings=dataclasses.replace(before.settings, picture="another"),
    )
    assert compare_receipts(before, after).differences == (
        "picture: A known samples, B another",
        "las1@torch 480x640, precision: A fp32, B int8",
        "las1@torch 480x640, inference size: A 480x640, B 480x736",
        "las1@torch 480x640, artefact: A abababababab, B cdcdcdcdcdcd",
        "las1@torch 480x640, tf32 matmul: A False, B True",
        "las1@torch 480x640, threads: A None, B 2",
    )


def test_nothing_in_common(make_receipt, make_subject):
    one, other = make_receipt(make_subject()), make_receipt(make_subject("sgbm"))
    with pytest.raises(InputError, match="no subject in common"):
        compare_receipts(one, other)
    with pytest.raises(InputError, match=r"no subject has a stage 'enqueue' .* one of .*total"):
        compare_receipts(one, one, stage="enqueue")


def test_table(compared):
    lines = comparison_table(compared(1.2)).splitlines()
    assert lines[0].split() == ["total,", "ms", "B/A", "95", "%", "A", "p50", "B", "p50", "verdict"]
    assert lines[2].startswith("las1@torch 480x640  1.2")
    assert lines[2].endswith("regression")


def test_command_fails_on_a_regression(make_receipt, make_subject, tmp_path, capsys):
    fast, slow = (
        write_receipt(tmp_path / f"{ms}.json", make_receipt(make_subject(median_ms=ms)))
        for ms in (20.0, 25.0)
    )
    with pytest.raises(SystemExit) as leaving:
        bench_main(["compare", str(fast), str(slow)])
    assert leaving.value.code == 1
    out, err = capsys.readouterr()
    assert "regression" in out
    assert "las1@torch 480x640: regression" in err
    with pytest.raises(SystemExit) as leaving:
        bench_main(["compare", str(slow), str(fast)])
    assert not leaving.value.code
    assert bench_main(["compare", str(fast), str(tmp_path / "none.json")]) == 1
