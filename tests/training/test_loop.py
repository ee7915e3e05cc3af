"""The training loop: it learns, stops and goes on, and refuses what it cannot use."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from tiny_run import tiny_run

from litestereo.cli import train_main
from litestereo.errors import TrainingError
from litestereo.models import create, load_weights
from litestereo.training.loss import supervised_loss, training_metrics
from litestereo.training.options import TrainOptions
from litestereo.training.profile import profile_training
from litestereo.training.scenes.stream import SceneStream
from litestereo.training.scenes.textures import load_atlas
from litestereo.training.schedule import Schedule, learning_rate
from litestereo.training.stages import start_network, train
from litestereo.training.state import Average

TINY = {
    "batch": 1,
    "height": 64,
    "width": 64,
    "compile_renderer": False,
    "log_every": 1,
    "texture_size": 64,
}


def test_learns_one_batch():
    """Twelve steps on one batch cut the error to less than a third of the start's."""
    atlas = load_atlas(None, device="cpu", size=64)
    batch = SceneStream(atlas, batch=2, size=(64, 128), seed=3, max_disparity_px=40.0).next()
    torch.manual_seed(0)
    network = create("las1", layer_scale_init=0.1).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        stages = network.stages(batch.left, batch.right)
        valid = batch.disparity_px < 192
        loss = supervised_loss(
            stages.predictions, 4 * stages.disparity_quarter, batch.disparity_px, valid
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 3


def test_stops_goes_on_and_ends(tmp_path):
    first = train(TrainOptions(output=tmp_path, steps=2, **TINY))
    assert first["step"] == 2
    told = []
    on = train(TrainOptions(output=tmp_path, steps=4, **TINY), watch=told.append)
    assert on["step"] == 4
    assert not any("is finished" in line.get("note", "") for line in told)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    model = create("las1")
    load_weights(model, tmp_path / "weights.safetensors")
    assert not list(tmp_path.glob(".*tmp"))


def test_on_a_cpu_it_says_at_once_that_it_is_slow_and_how_slow(tmp_path):
    said = []
    train(TrainOptions(output=tmp_path, steps=3, **TINY), watch=said.append)
    notes = [line["note"] for line in said if "TensorBoard" not in line.get("note", "TensorBoard")]
    assert notes[0] == "torch sees no CUDA GPU: training on the CPU, which is slow"
    assert notes[1].startswith("the first step took ")
    assert re.match(
        r"a step \(--batch 1\) takes \d+\.\d s: the 1 to come take about \d+\.\d minutes;", notes[2]
    )
    assert len(notes) == 3
    said.clear()
    train(TrainOptions(output=tmp_path, steps=6, minutes=5, **TINY), watch=said.append)
    assert any(line.get("note", "").endswith(" steps in --minutes 5") for line in said)


@pytest.mark.parametrize("moment", ["between", "while writing", "after writing"])
def test_a_killed_run_goes_on_from_its_state(tmp_path, moment):
    code = (
        "from pathlib import Path; from litestereo.training.options import TrainOptions;"
        "from litestereo.training.stages import train;"
        f"train(TrainOptions(output=Path({str(tmp_path)!r}), steps=10_000, "
        f"checkpoint_seconds=0.01, **{TINY!r}))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    log, state = tmp_path / "log.jsonl", tmp_path / "state.pt"
    writing = tmp_path / ".state.pt.tmp"
    _wait_until(lambda: log.exists() and len(log.read_text().splitlines()) >= 2)
    _wait_until(state.exists)
    if moment == "while writing":
        _wait_until(lambda: _size(writing) > 10_000_000)
    elif moment == "after writing":
        before = state.stat().st_mtime_ns
        _wait_until(lambda: state.stat().st_mtime_ns != before)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if moment == "while writing":
        assert writing.exists(), "the kill came too late to hit the writing"
    done = len(log.read_text().splitlines())
    assert done >= 2, "the run did not start"
    result = train(TrainOptions(output=tmp_path, steps=done + 2, **TINY))
    assert result["step"] == done + 2
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == list(range(1, done + 3))
    assert not list(tmp_path.glob(".*tmp"))


def _size(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _wait_until(true, *, seconds=120):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def test_a_foreign_state_is_refused(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(TrainingError, match=r"state\.pt is not a training state"):
        train(TrainOptions(output=tmp_path, steps=1, **TINY))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"height": 60}, "60x64"), ({"steps": 0}, "steps 0"), ({"minutes": 0.0}, "minutes 0.0")],
)
def test_options_are_checked(tmp_path, change, message):
    with pytest.raises(TrainingError, match=message):
        TrainOptions(output=tmp_path, **{**TINY, **change})


def test_learning_rate_rises_then_falls(tmp_path):
    options = TrainOptions(output=tmp_path, warm_up=0.1, peak_learning_rate=1.0)
    rates = [learning_rate(options, progress=step / 1000) for step in range(1001)]
    assert max(rates) == rates[100] == pytest.approx(1.0)
    assert rates[0] == pytest.approx(0.04)
    assert rates[1000] == pytest.approx(0.01)
    assert sorted(rates[:101]) == rates[:101]
    assert sorted(rates[100:], reverse=True) == rates[100:]


def test_loss_counts_valid_pixels_alone():
    truth = torch.tensor([[[[1.0, 500.0], [3.0, 4.0]]]]).repeat_interleave(2, 2)
    truth = truth.repeat_interleave(2, 3)
    valid = truth < 192
    perfect = supervised_loss((truth,), torch.full((1, 1, 1, 1), 2.0), truth, valid)
    worse = supervised_loss((truth + 2,), torch.full((1, 1, 1, 1), 2.0), truth, valid)
    assert worse - perfect == pytest.approx(1.5)  # smooth-L1 of 2 px
    metrics = training_metrics(truth + 3.5, truth, valid)
    assert metrics["epe_px"] == pytest.approx(3.5)
    assert metrics["d1"] == pytest.approx(100)


def test_average_follows_and_keeps_counters():
    model = torch.nn.BatchNorm1d(2)
    average = Average(model, decay=0.5)
    with torch.no_grad():
        model.weight.fill_(3.0)
        model.num_batches_tracked.fill_(7)
    average.update(model, step=1_000_000, bad=torch.tensor(False))
    assert torch.equal(average.values["weight"], torch.full((2,), 2.0))
    assert average.values["num_batches_tracked"] == 7


def test_command_refuses_a_bad_size(capsys, tmp_path):
    assert train_main(["-o", str(tmp_path), "--height", "100"]) == 1
    assert "100x512" in capsys.readouterr().err


def test_profile_times_every_part(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"of another run")
    options = TrainOptions(output=tmp_path, **TINY)
    result = profile_training(options, repeats=1)
    assert result["scenes_ms"] >= result["render_ms"] * 0.5
    assert result["training_pairs_per_s"] < result["scene_pairs_per_s"]
    assert 0 < result["optimizers_ms"] < result["network_ms"]
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_schedule_fits_its_sitting(tmp_path, monkeypatch):
    """The clock alone drives the rate: at its peak soon, down at the end, whatever the pace."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    options = TrainOptions(output=tmp_path, minutes=10, fit_schedule=True, **TINY)
    schedule = Schedule(options)
    now[0] = 200.0  # compiling
    assert schedule.clock() == (0.0, False)
    schedule.advance()
    rates, over = [], False
    while not over:
        now[0] += 2.0
        schedule.progress, over = schedule.clock()
        schedule.advance()
        rates.append(schedule.rate)
    assert 580 < now[0] <= 600
    assert max(rates) == pytest.approx(options.peak_learning_rate, rel=1e-2)
    assert rates.index(max(rates)) < 10
    assert rates[-1] == pytest.approx(0.01 * options.peak_learning_rate)
    with pytest.raises(TrainingError, match="minutes"):
        TrainOptions(output=tmp_path, fit_schedule=True)


def test_a_resumed_schedule_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    options = TrainOptions(output=tmp_path, minutes=10, fit_schedule=True, **TINY)
    schedule = Schedule(options, step=500, progress=0.6)
    schedule.advance()
    monkeypatch.setattr(time, "monotonic", lambda: 300.0)
    progress, over = schedule.clock()
    assert 0.7 < progress < 0.9
    assert not over


@pytest.mark.parametrize("model", ["las2_s", "las2_m", "las2_h"])
def test_other_networks_make_a_step(tmp_path, model):
    options = TrainOptions(output=tmp_path, model=model, steps=1, **TINY)
    assert train(options)["loss"] > 0
    start_network(model, tmp_path / "weights.safetensors")


def test_a_resumed_log_has_each_step_once(tmp_path):
    """Lines after the last checkpoint, and one that a kill cut short, are made anew."""
    train(TrainOptions(output=tmp_path, steps=2, **TINY))
    log = tmp_path / "log.jsonl"
    log.write_text(log.read_text() + '{"step": 3, "loss": 1.0}\n{"step": 4, "lo')
    train(TrainOptions(output=tmp_path, steps=4, **TINY))
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    told = []
    train(TrainOptions(output=tmp_path, steps=4, **TINY), watch=told.append)
    assert any(
        "is finished; to go on, choose another folder" in each.get("note", "") for each in told
    )


def test_the_log_has_the_rate_of_its_step(tmp_path):
    run = tiny_run(tmp_path, steps=4, log_every=1, warm_up=0.5)
    run.go()
    rates = [learning_rate(run.options, progress=step / 4) for step in range(4)]
    logged = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["learning_rate"] for line in logged] == pytest.approx(rates)


def test_the_record_is_what_the_committed_ones_are(tmp_path):
    train(TrainOptions(output=tmp_path, steps=2, textures=None, **TINY))
    record = json.loads((tmp_path / "record.json").read_text())
    assert {"what", "device", "torch", "commit", "options", "came", "log"} <= record.keys()
    assert record["pairs"] == 2
    assert str(tmp_path.parent) not in json.dumps(record)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own, of torch.jit
def test_two_steps_on_a_gpu(tmp_path):
    options = TrainOptions(output=tmp_path, steps=2, batch=2, height=64, width=128)
    assert train(options)["step"] == 2
