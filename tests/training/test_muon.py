"""Muon: what it makes of gradients, and that a bad batch changes nothing."""

import pytest
import torch
from tiny_run import Source, tiny_run
from torch import nn

from litestereo.errors import TrainingError
from litestereo.models import create
from litestereo.training.muon import Muon, is_matrix
from litestereo.training.options import TrainOptions

LAYERS = [
    nn.Linear(48, 192),
    nn.Linear(192, 48),
    nn.Conv2d(32, 96, 1),
    nn.Conv2d(24, 24, 3).to(memory_format=torch.channels_last),
    nn.Conv2d(24, 24, 3),
    nn.ConvTranspose2d(40, 24, 4),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_step_is_orthogonal_and_of_adamw_s_size(layer):
    torch.manual_seed(0)
    weight = nn.Parameter(layer.weight.detach().clone())
    before = weight.detach().clone()
    weight.grad = torch.randn_like(weight) * 1e-4
    Muon([weight], lr=0.01, weight_decay=0.0).step()
    step = (before - weight.detach()).flatten(1)
    # A matrix whose singular values are all 1 has the mean square 1 / its longer side.
    assert 0.7 < float(step.square().mean().sqrt()) / (0.2 * 0.01) < 1.2
    values = torch.linalg.svdvals(step) / (0.2 * 0.01 * max(step.shape) ** 0.5)
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    assert float((step * weight.grad.flatten(1)).sum()) > 0


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch has had it since 2.9")
def test_steps_as_torch_does():
    """torch.optim.Muon knows plain matrices alone, and turns them in bfloat16."""
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(16, 48)), nn.Parameter(torch.randn(96, 24))]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    begun = [parameter.detach().clone() for parameter in ours]
    given = {"lr": 0.05, "weight_decay": 0.1}
    optimizers = (
        Muon(ours, **given),
        torch.optim.Muon(theirs, **given, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(5):
        for mine, its in zip(ours, theirs, strict=True):
            mine.grad = torch.randn_like(mine)
            its.grad = mine.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for mine, its, start in zip(ours, theirs, begun, strict=True):
        apart, way = (mine - its).detach().norm(), (its - start).detach().norm()
        assert float(apart) < 0.02 * float(way)


def test_a_bad_batch_changes_nothing():
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(24, 16, 3, 3))
    optimizer = Muon([weight], lr=0.01, weight_decay=0.1)
    weight.grad = torch.randn_like(weight)
    optimizer.found_inf = torch.tensor(0.0)
    optimizer.step()
    before, momentum = weight.detach().clone(), optimizer.state[weight]["momentum"].clone()
    weight.grad[3, 3] = float("nan")
    optimizer.found_inf = torch.tensor(1.0)
    optimizer.step()
    assert torch.equal(weight, before)
    assert torch.equal(optimizer.state[weight]["momentum"], momentum)


@pytest.mark.parametrize("name", ["las1", "las2_m"])
def test_nearly_all_of_a_network_is_matrices(name):
    parameters = list(create(name).parameters())
    matrices = sum(p.numel() for p in parameters if is_matrix(p))
    assert matrices > 0.95 * sum(p.numel() for p in parameters)
    assert not any(is_matrix(p) for p in parameters if p.ndim == 5)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_every_parameter_is_trained_once(tmp_path, optimizer):
    run = tiny_run(tmp_path, optimizer=optimizer, weight_decay=0.5)
    kinds = [type(each).__name__ for each in run.optimizers]
    assert kinds == (["Muon", "AdamW"] if optimizer == "muon" else ["AdamW"])
    groups = [group for each in run.optimizers for group in each.param_groups]
    decayed = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(decayed)
    assert decayed == {id(p): 0.5 * (p.ndim > 1) for p in run.network.parameters()}


def test_what_has_no_gradient_stays():
    weights = [nn.Parameter(torch.ones(12, 12)) for _ in range(2)]
    weights[1].grad = torch.ones(12, 12)
    Muon(weights, lr=0.1, weight_decay=0.1).step()
    assert torch.equal(weights[0], torch.ones(12, 12))
    assert not torch.equal(weights[1], torch.ones(12, 12))


class Stopping(Source):
    """Gives two batches."""

    def next(self):
        if self.number == 2:
            raise InterruptedError
        return super().next()


def test_a_run_that_is_gone_on_with_steps_as_one_at_once(tmp_path):
    """The momentum is kept, too."""
    options = {"steps": 4, "peak_learning_rate": 0.1}
    whole = tiny_run(tmp_path / "whole", **options)
    whole.go()
    first = tiny_run(tmp_path / "parts", source=Stopping(), checkpoint_seconds=0.0, **options)
    with pytest.raises(InterruptedError):
        first.go()
    second = tiny_run(tmp_path / "parts", source=Source(first=3), start=1, **options)
    second.go()
    for one, other in zip(second.network.parameters(), whole.network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_an_unknown_optimiser_is_refused(tmp_path):
    with pytest.raises(TrainingError, match="'adam' is unknown; choose one of muon, adamw"):
        TrainOptions(output=tmp_path, optimizer="adam")


@pytest.mark.parametrize("rate", [0.0, -1e-4, float("nan")])
def test_a_rate_of_nothing_is_refused(tmp_path, rate):
    with pytest.raises(TrainingError, match=f"learning rate {rate} must be above 0"):
        TrainOptions(output=tmp_path, peak_learning_rate=rate)


@pytest.mark.gpu
def test_a_gpu_moves_weights_as_a_cpu_does():
    """There matrices are turned in bfloat16."""
    torch.manual_seed(0)
    start, grad = torch.randn(2, 48, 24, 3, 3)
    moves = []
    for device in ("cpu", "cuda"):
        layout = {"device": device, "memory_format": torch.channels_last}
        weight = nn.Parameter(start.to(**layout))
        weight.grad = grad.to(**layout)
        optimizer = Muon([weight], lr=0.1, weight_decay=0.1)
        optimizer.found_inf = torch.zeros((), device=device)
        optimizer.step()
        moves.append(weight.detach().cpu() - start)
    assert float((moves[0] - moves[1]).norm()) < 0.02 * float(moves[0].norm())
