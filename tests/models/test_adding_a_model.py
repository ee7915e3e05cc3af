"""What docs/add-a-model.md says, done with a toy size: the table alone makes a model."""

from dataclasses import replace

import torch

from litestereo.models import create, load_weights, save_weights
from litestereo.models.registry import MODEL_SPECS


def test_a_line_in_the_registry_is_a_model(monkeypatch, tmp_path):
    toy = replace(MODEL_SPECS["las2_s"], name="las2_xs", aggregation_blocks=(1, 1, 1))
    monkeypatch.setitem(MODEL_SPECS, "las2_xs", toy)
    torch.manual_seed(0)
    model, other = create("las2_xs").eval(), create("las2_xs").eval()
    save_weights(model, tmp_path / "toy.safetensors")
    load_weights(other, tmp_path / "toy.safetensors")
    pair = torch.rand(2, 1, 3, 64, 96) * 255
    with torch.no_grad():
        disparity, confidence = model(*pair)
        again = other(*pair)
    assert disparity.shape == confidence.shape == (1, 1, 64, 96)
    assert torch.equal(disparity, again[0])
    assert sum(p.numel() for p in model.parameters()) < MODEL_SPECS["las2_s"].parameters
