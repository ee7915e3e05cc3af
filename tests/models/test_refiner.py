"""The refiner: what it looks at, what it can put right, and what it leaves alone."""

import pytest
import torch
from torch.nn import functional as F

from litestereo.models import create
from litestereo.models.refiner import Refiner, _detail, _evidence, _read, _surfaces


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def shifted_pair(disparity, height=32, width=96):
    """Return a random texture and the same seen from the right, `disparity` px apart, whole."""
    wide = torch.rand(1, 3, height, width + 64) * 255
    wide = F.avg_pool2d(F.pad(wide, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return wide[..., 32 : 32 + width], wide[..., 32 + disparity : 32 + disparity + width]


def test_reading_is_linear_and_stops_at_the_borders():
    row = torch.tensor([[[[0.0, 10.0, 20.0, 30.0]]]])
    at = torch.tensor([[[[-3.0, 0.5, 1.5, 3.0]]]])
    own, before, after = _read(row, at, shifts=(0, -1, 1))
    assert own.flatten().tolist() == [0.0, 5.0, 15.0, 30.0]
    assert before.flatten().tolist() == [0.0, 0.0, 5.0, 20.0]
    assert after.flatten().tolist() == [0.0, 15.0, 25.0, 30.0]


def test_the_right_candidate_matches_exactly():
    left, right = shifted_pair(12)
    disparity = torch.full((1, 1, 32, 96), 12.0)
    disparity[..., 48:] = 11.0  # a pixel too far: the fourth candidate, one more, is right
    eyes = _detail(left), _detail(right)
    costs = _evidence(disparity, *eyes, *_surfaces(disparity))[:, :5, 4:-4]
    assert costs[:, 0, :, 20:44].max() < 1e-4
    assert costs[:, 3, :, 56:90].max() < 1e-4
    assert costs[:, 1, :, 48:51].max() < 1e-4  # as is the nearest surface beside the step
    assert costs[:, 0, :, 56:90].mean() > 0.1
    assert costs[:, 4, :, 56:90].mean() > 0.1


def test_candidates_are_the_surfaces_around():
    disparity = torch.full((1, 1, 16, 32), 4.0)
    disparity[..., 16:] = 9.0
    nearer, farther = (change[0, 0, 8] for change in _surfaces(disparity))
    assert nearer[12:20].tolist() == [0.0, 5.0, 5.0, 5.0, 0.0, 0.0, 0.0, 0.0]
    assert farther[12:20].tolist() == [0.0, 0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 0.0]


def test_at_first_it_changes_little_and_gradients_pass_it_by():
    left, right = shifted_pair(12)
    disparity = (12 + torch.rand(1, 1, 32, 96)).requires_grad_()
    refined = Refiner()(disparity, left, right)
    assert (refined - disparity).abs().max() < 0.1
    refined.sum().backward()
    assert torch.equal(disparity.grad, torch.ones_like(disparity))


def test_each_pass_begins_where_the_last_one_ended():
    left, right = shifted_pair(12)
    disparity = 12 + torch.rand(1, 1, 32, 96)
    once, twice, never = (Refiner(passes=n).eval() for n in (1, 2, 0))
    torch.nn.init.normal_(once.conv2.weight, std=0.3)
    torch.nn.init.normal_(once.conv2.bias)
    twice.load_state_dict(once.state_dict())
    with torch.no_grad():
        first = once(disparity, left, right)
        assert (first - disparity).abs().max() > 0.1
        assert torch.equal(twice(disparity, left, right), once(first, left, right))
        assert torch.equal(never(disparity, left, right), disparity)


def test_what_ends_below_zero_reads_no_further_right():
    left, right = shifted_pair(0)
    refiner = Refiner(passes=4).eval()
    with torch.no_grad():
        refiner.conv2.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 0.0, 99.0]))  # a pixel less each time
        refined = refiner(torch.zeros(1, 1, 32, 96), left, right)
    assert torch.equal(refined, torch.full_like(refined, -4.0))


def test_it_learns_to_mend_edges_and_fractions():
    refiner = Refiner()
    optimizer = torch.optim.Adam(refiner.parameters(), lr=5e-3)
    errors = []
    for _ in range(60):
        left, right = shifted_pair(12)
        given = 12 + torch.randint(-1, 2, (1, 1, 8, 24)).float()
        given = F.interpolate(given, scale_factor=4.0, mode="nearest")
        error = (refiner(given, left, right) - 12).abs().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[0] > 0.6
    assert sum(errors[-10:]) / 10 < 0.5 * errors[0]


@pytest.mark.parametrize("name", ["las1", "las2_s", "las2_h"])
def test_networks_refine_what_they_answer(name):
    left, right = torch.rand(2, 1, 3, 64, 96) * 255
    model = create(name).eval()
    with torch.no_grad():
        plain = model.stages(left, right)
        model.refiner = Refiner().eval()
        refined = model.stages(left, right)
        again = model.refiner(plain.disparity, left, right)
    assert torch.equal(plain.unrefined, plain.disparity)
    assert torch.equal(refined.unrefined, plain.disparity)
    assert torch.equal(refined.disparity, again)
    assert len(refined.predictions) == len(plain.predictions) + 1
    assert torch.equal(refined.confidence, plain.confidence)


def test_it_keeps_to_full_precision_under_autocast():
    left, right = shifted_pair(12)
    disparity = torch.full((1, 1, 32, 96), 150.3)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        refined = Refiner()(disparity, left, right)
    assert refined.dtype == torch.float32
    assert (refined - disparity).abs().max() < 0.1
