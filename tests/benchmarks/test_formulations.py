"""The formulations that speed is compared with answer as ours do, each part and all together."""

import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from golden import golden_state_dict, golden_vectors

from litestereo.models import create

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from alternatives import FORMS, BatchModel
from reference_graph import PARTS, formulated_as_published


def golden_network(name):
    network = create(name)
    network.load_state_dict(golden_state_dict(name))
    return network.eval()


@pytest.mark.parametrize("name", ["las1", "las2_m"])
def test_the_published_formulation_gives_the_published_answers(name):
    vectors = golden_vectors(name)
    pair = [torch.from_numpy(vectors[side]) for side in ("left", "right")]
    network = golden_network(name)
    with torch.no_grad(), formulated_as_published():
        disparity, _ = network(*pair)
    assert np.abs(disparity.numpy() - vectors["disparity"]).max() < 1e-3


@pytest.mark.parametrize("part", PARTS)
def test_each_part_gives_our_answers(part):
    torch.manual_seed(0)
    network = create("las1", layer_scale_init=0.5).eval()
    pair = torch.rand(2, 1, 3, 64, 96) * 255
    with torch.no_grad():
        ours = network(*pair)
        with formulated_as_published(part):
            theirs = network(*pair)
        again = network(*pair)
    for mine, other, mine_again in zip(ours, theirs, again, strict=True):
        assert (mine - other).abs().max() < 1e-3
        assert torch.equal(mine, mine_again)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_takes_the_place_of_something_that_runs(part):
    network = create("las1").eval()
    for owner, name, _ in PARTS[part]:
        broken = mock.patch.object(owner, name, side_effect=LookupError)
        with torch.no_grad(), broken, pytest.raises(LookupError):
            network(*torch.rand(2, 1, 3, 64, 96))


def test_a_batch_is_its_pairs_one_above_the_other():
    torch.manual_seed(0)
    network = create("las1", layer_scale_init=0.5).eval()
    left, right = torch.randint(0, 256, (2, 128, 96, 3), dtype=torch.uint8)
    batch = type("Two", (BatchModel,), {"count": 2})(network)

    def alone(picture):
        return picture.float().permute(2, 0, 1).unsqueeze(0)

    with torch.no_grad():
        together, _ = batch(left, right)
        for half in (slice(0, 64), slice(64, 128)):
            disparity, _ = network(alone(left[half]), alone(right[half]))
            assert (together[half] - disparity[0, 0]).abs().max() < 1e-3


def test_every_form_is_described():
    described = sys.modules["alternatives"].__doc__
    for form in FORMS:
        stem = form.split("-")[0]
        assert f"\n    {stem}" in described, form
