"""Batches made beside a step, on a GPU."""

import pytest
import torch

from litestereo.training.ahead import Ahead
from litestereo.training.scenes.stream import Batch


class Counted:
    """Gives batches of 1, 2, 3... each after some milliseconds of the GPU's work."""

    def __init__(self):
        self.made = 0
        self.load = torch.randn(2048, 2048, device="cuda")

    def next(self):
        self.made += 1
        product = self.load
        for _ in range(20):
            product = product @ self.load / 50
        number = torch.full((1, 3, 64, 64), self.made, device="cuda") + 0 * product.sum()
        return Batch(number, number, number[:, :1], number[:, :1] > 0)


@pytest.mark.gpu
def test_batches_made_ahead_come_whole_and_in_order():
    source = Counted()
    ahead = Ahead(source, torch.device("cuda"))
    sums = []
    for step in range(1, 30):
        batch = ahead.next()
        assert source.made == step + 1
        sums.append(batch.left.sum() / batch.left.numel())
        del batch  # its memory is for the next ones
    assert [float(total) for total in sums] == list(range(1, 30))
