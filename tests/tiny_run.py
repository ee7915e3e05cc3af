"""A run of the training loop that costs next to nothing, for tests in several processes too."""

import torch
from torch import nn

from litestereo.training.group import Group
from litestereo.training.loop import TrainingRun
from litestereo.training.options import TrainOptions
from litestereo.training.scenes.stream import Batch

CPU = Group(device=torch.device("cpu"))


class Tiny(nn.Module):
    """A network with the norms of ours and next to no weights, one of them a matrix for Muon."""

    def __init__(self):
        super().__init__()
        # Without a bias, whose gradient before a norm is rounding alone.
        self.first = nn.Conv2d(3, 12, 3, padding=1, bias=False)
        self.matrix, self.norm = nn.Conv2d(12, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.last = nn.Conv2d(12, 1, 1)

    def forward(self, left):
        return self.last(self.norm(self.matrix(self.first(left / 255))))


class Objective(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, left, right, truth):
        error = self.network(left) - truth
        # Squared: signs that are all alike would leave no gradient before the norm but rounding.
        return error.square().mean(), {"epe_px": error.detach().abs().mean()}


class Source:
    """Seeded pairs, counted from `first` on; those of `bad` have one pixel that is no number."""

    def __init__(self, *, first=1, bad=(), device="cpu"):
        self.number, self.bad, self.device = first - 1, bad, device

    def next(self):
        self.number += 1
        generator = torch.Generator().manual_seed(self.number)
        left = torch.rand(2, 3, 64, 64, generator=generator) * 255
        if self.number in self.bad:
            left[0, 0, 0, 0] = torch.inf
        left = left.to(self.device)
        truth = torch.full((2, 1, 64, 64), 5.0, device=self.device)
        return Batch(left, left, truth, truth > 0)


def tiny_run(output, *, source=None, group=CPU, start=0, **options):
    """Make a run from random weights of seed `start`."""
    torch.manual_seed(start)
    return TrainingRun(
        TrainOptions(output=output, batch=2, height=64, width=64, **options),
        Tiny(),
        objective=lambda network, _: Objective(network),
        source=lambda _: source or Source(),
        group=group,
    )
