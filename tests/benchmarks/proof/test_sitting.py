"""The plan of a sitting: what runs beside what, what is told of it, and that nothing hangs."""

import json
import re
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROOF = ROOT / "benchmarks/proof"
sys.path.insert(0, str(PROOF))

from sitting import read_plan, run_plan  # noqa: E402


def told(folder):
    return {task["command"]: task for task in json.loads((folder / "sitting.json").read_text())}


def test_a_plan_is_read():
    plan = "# all\n\nbuild a & 90s build b  # side by side\n300s soak &\ntime c && echo '#1'\n"
    read = [([(t.command, t.limit_s) for t in group], waits) for group, waits in read_plan(plan)]
    assert read == [
        ([("build a", 600.0), ("build b", 90.0)], True),
        ([("soak", 300.0)], False),
        ([("time c && echo '#1'", 600.0)], True),
    ]
    with pytest.raises(ValueError, match="no command"):
        read_plan("&\n")


def test_lines_follow_each_other_and_a_failure_stops_nothing(tmp_path):
    plan = f"""
    sleep 0.6; echo first >> {tmp_path}/order & sleep 0.6; echo first >> {tmp_path}/order
    exit 3
    echo second | tee -a {tmp_path}/order
    """
    began = time.monotonic()
    assert run_plan(read_plan(plan), tmp_path / "out") == 1
    assert time.monotonic() - began < 10
    assert (tmp_path / "order").read_text().split() == ["first", "first", "second"]
    assert (tmp_path / "out/03.log").read_text() == "second\n"
    tasks = told(tmp_path / "out")
    assert tasks["exit 3"]["status"] == 3
    assert all(task["took_s"] is not None for task in tasks.values())


def test_what_is_left_running_runs_beside_the_next_line(tmp_path):
    plan = f"while [ ! -e {tmp_path}/seen ]; do sleep 0.05; done &\ntouch {tmp_path}/seen"
    assert run_plan(read_plan(plan), tmp_path / "out") == 0


def test_a_limit_ends_a_command_and_its_children(tmp_path):
    plan = f"1s sleep 60 | (sleep 60; touch {tmp_path}/never)"
    assert run_plan(read_plan(plan), tmp_path / "out") == 1
    (task,) = told(tmp_path / "out").values()
    assert task["timed_out"]
    assert task["status"] == -9
    assert task["took_s"] < 10


@pytest.mark.parametrize("plan", sorted(PROOF.glob("*.plan")), ids=lambda path: path.name)
def test_a_committed_plan_calls_scripts_and_steps_that_are_there(plan):
    steps = re.findall(r"^([a-z0-9-]+)\)", (PROOF / "proof.sh").read_text(), re.M)
    for tasks, _ in read_plan(plan.read_text()):
        for task in tasks:
            (script,) = re.findall(r"benchmarks/\S+\.sh", task.command)
            assert (PROOF.parents[1] / script).is_file()
            step = re.search(r"proof\.sh (\S+)", task.command)
            assert step is None or step[1] in steps
