"""What a run keeps: no bad batch gets into it, and it says whose it is."""

from dataclasses import replace

import pytest
import torch
from tiny_run import Source, Tiny, tiny_run
from torch import nn

from litestereo.benchmarks.scenes import Scene
from litestereo.errors import InputError, TrainingError
from litestereo.training.group import Group
from litestereo.training.identity import differences, identity_of
from litestereo.training.options import TrainOptions
from litestereo.training.state import Average, Progress, Statistics, load_state, save_state


def test_a_batch_that_is_not_finite_changes_nothing_that_is_kept(tmp_path):
    run = tiny_run(tmp_path, source=Source(bad={3}), steps=5)
    for _ in range(2):
        run.advance(run.source.next())
    before = {
        **{f"network.{k}": v.clone() for k, v in run.network.state_dict().items()},
        **{f"average.{k}": v.clone() for k, v in run.average.values.items()},
    }
    run.advance(run.source.next())
    after = {
        **{f"network.{k}": v for k, v in run.network.state_dict().items()},
        **{f"average.{k}": v for k, v in run.average.values.items()},
    }
    assert int(run.skipped) == 1
    for name, value in before.items():
        if "num_batches" not in name:
            assert torch.equal(after[name], value), name
    run.go()
    assert int(run.skipped) == 0
    assert not torch.equal(
        run.average.values["norm.running_mean"], before["average.norm.running_mean"]
    )
    assert all(torch.isfinite(v).all() for v in run.average.values.values())
    assert (tmp_path / "weights.safetensors").exists()


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graph", [False, True])
def test_nor_does_it_on_a_gpu(tmp_path, cuda_graph):
    source = Source(bad={1, 3}, device="cuda")
    group = Group(device=torch.device("cuda"))
    run = tiny_run(tmp_path, source=source, group=group, steps=5, cuda_graph=cuda_graph)
    run.go()
    assert all(torch.isfinite(v).all() for v in run.network.state_dict().values())
    assert all(torch.isfinite(v).all() for v in run.average.values.values())
    assert (run.network.norm.running_mean != 0).any()


def test_statistics_are_restored_where_they_lie():
    """A CUDA graph writes to the memory that it was recorded with."""
    norm = nn.BatchNorm1d(3)
    norm.register_buffer("scale", torch.ones(()))
    statistics, place = Statistics(norm), norm.running_mean.data_ptr()
    for bad in (False, True):
        with torch.no_grad():
            norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
            statistics.keep()
            norm.running_mean.copy_(torch.tensor([4.0, torch.nan, 6.0]))
        statistics.restore(torch.tensor(bad))
        assert norm.running_mean.tolist() == ([1.0, 2.0, 3.0] if bad else [4.0, 2.0, 6.0])
    assert norm.running_mean.data_ptr() == place
    assert norm.running_var.tolist() == [1.0] * 3
    assert norm.scale.shape == ()


def test_an_average_that_is_not_finite_is_not_saved(tmp_path):
    run = tiny_run(tmp_path, steps=2)
    run.go()
    files = [tmp_path / "state.pt", tmp_path / "weights.safetensors"]
    kept = [path.read_bytes() for path in files]
    again = tiny_run(tmp_path, steps=4)
    again.average.values["norm.running_var"][0] = torch.nan
    with pytest.raises(TrainingError, match=r"not finite \(norm\.running_var first\)"):
        again.go()
    assert [path.read_bytes() for path in files] == kept
    with pytest.raises(TrainingError, match="not finite"):
        again.average.network(Tiny())
    Average(Tiny(), decay=0.5).network(Tiny())


def test_a_folder_of_another_run_is_refused_and_what_differs_is_named(tmp_path):
    old, new = tmp_path / "old.safetensors", tmp_path / "new.safetensors"
    old.write_bytes(b"old")
    new.write_bytes(b"new")
    output = tmp_path / "run"
    tiny_run(output, steps=1, weights=old).go()
    moved = old.rename(tmp_path / "moved.safetensors")
    on = tiny_run(output, steps=2, weights=moved, peak_learning_rate=1e-3, minutes=5.0).go()
    assert on["step"] == 2
    record = (output / "record.json").read_bytes()
    for change, name in (
        ({"seed": 9}, "seed was 1 and is now 9"),
        ({"weights": new}, "weights was [0-9a-f]{12} and is now [0-9a-f]{12};"),
        ({"model": "las2_s"}, "model was las1 and is now las2_s"),
        ({"stage": "self"}, "stage was supervised and is now self"),
    ):
        with pytest.raises(TrainingError, match=f"of another run: {name}"):
            tiny_run(output, **{"steps": 3, "weights": moved, **change})
    assert (output / "record.json").read_bytes() == record


def test_other_pairs_are_another_run(tmp_path):
    """A pair that was trained on could else be among the judges of the next sitting."""
    options = TrainOptions(output=tmp_path)
    scenes = [Scene(f"scene{i}", "rig", tmp_path / "l.png", tmp_path / "r.png") for i in range(3)]
    told = identity_of(options, scenes)
    assert differences(told, identity_of(options, scenes[::-1])) == ""
    assert differences(told, identity_of(options, scenes[:2])).startswith("pairs was 3 pairs ")
    assert differences(told, identity_of(options, ())).endswith("is now None")
    told.pop("edge_weight")  # as before there was such a weight
    told.pop("perturb")
    told.pop("distribution_weight")
    assert differences(told, identity_of(options, scenes)) == ""
    told.pop("optimizer")  # as before there was a choice
    other = "optimizer was adamw and is now muon"
    assert differences(told, identity_of(options, scenes)) == other
    told.pop("robust_px")  # as when smooth-L1 was all there was
    options = replace(options, optimizer="adamw")
    assert differences(told, identity_of(options, scenes)) == "robust_px was 0.0 and is now 1.0"
    options = replace(options, robust_px=0.0)
    assert differences(told, identity_of(options, scenes)) == ""
    heavier = identity_of(replace(options, edge_weight=3.0), scenes)
    assert differences(told, heavier) == "edge_weight was 1.0 and is now 3.0"


def test_a_state_that_does_not_tell_its_run_goes_on(tmp_path):
    """As it was written before runs told theirs, and AdamW was the only optimiser."""
    tiny_run(tmp_path, steps=1, optimizer="adamw", robust_px=0.0).go()
    state = torch.load(tmp_path / "state.pt")
    del state["identity"]
    (state["optimizer"],) = state.pop("optimizers")
    torch.save(state, tmp_path / "state.pt")
    assert tiny_run(tmp_path, steps=2, seed=5, optimizer="adamw", robust_px=0.0).go()["step"] == 2
    with pytest.raises(TrainingError, match="seed was 5"):
        tiny_run(tmp_path, steps=3, seed=6, optimizer="adamw", robust_px=0.0)


def test_a_run_of_a_cpu_goes_on_with_the_fused_kernels_of_a_gpu(tmp_path):
    def parts(*, fused):
        model = Tiny()
        adamw = torch.optim.AdamW(model.parameters(), fused=fused)
        return {"model": model, "optimizers": [adamw], "average": Average(model, decay=0.9)}

    old, new = parts(fused=False), parts(fused=True)
    for parameter in (*old["model"].parameters(), *new["model"].parameters()):
        parameter.grad = torch.ones_like(parameter)
    old["optimizers"][0].step()
    save_state(tmp_path / "state.pt", **old, progress=Progress(step=1))
    load_state(tmp_path / "state.pt", **new)
    (adamw,) = new["optimizers"]
    before = new["model"].matrix.weight.clone()
    adamw.found_inf = torch.ones(())
    adamw.step()
    assert torch.equal(new["model"].matrix.weight, before)


def test_a_state_that_cannot_be_written_is_told_in_words(tmp_path, monkeypatch):
    run = tiny_run(tmp_path / "run", steps=1)
    run.go()
    others = [tmp_path / "run" / name for name in ("film.part", ".notes.tmp")]
    for path in others:
        path.write_text("another's")
    old = run.state_path.read_bytes()
    again = tiny_run(tmp_path / "run", steps=2)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match=r"cannot write .*state\.pt: No space left"):
        again.go()
    assert run.state_path.read_bytes() == old
    assert all(path.exists() for path in others)
