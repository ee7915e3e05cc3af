"""All five networks against the reference vectors, every stage of them."""

import numpy as np
import pytest
import torch

from litestereo.models import MODEL_NAMES, create
from tests.golden import golden_entries, golden_state_dict, golden_vectors

TOLERANCE_PX = 2e-4


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_stages_meet_golden_vectors(name):
    model = create(name)
    model.load_state_dict(golden_state_dict(name), strict=True)
    vectors = golden_vectors(name)
    with torch.inference_mode():
        stages = model.eval().stages(
            torch.from_numpy(vectors["left"]), torch.from_numpy(vectors["right"])
        )
    got = {f"feat_left_{4 * 2**i}": maps for i, maps in enumerate(stages.features_left)}
    got["feat_right_4"] = stages.features_right[0]
    for field in ("cost_into_aggregation", "cost_aggregated", "disparity_quarter", "disparity"):
        got[field] = getattr(stages, field)
    compared = set(vectors) - {"left", "right", "disparity_f64"}
    assert set(got) == compared
    for stage, value in got.items():
        np.testing.assert_allclose(
            value.numpy(), vectors[stage], rtol=0, atol=TOLERANCE_PX, err_msg=stage
        )
    np.testing.assert_allclose(
        stages.disparity.numpy(), vectors["disparity_f64"], rtol=0, atol=TOLERANCE_PX
    )
    assert vectors["disparity"].std() > 5  # a constant would prove nothing


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_state_dict_has_published_names_shapes_and_types(name):
    published = {
        entry["name"]: (tuple(entry["shape"]), entry["dtype"]) for entry in golden_entries(name)
    }
    ours = {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for key, value in create(name).state_dict().items()
    }
    assert ours == published
